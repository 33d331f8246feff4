"""`runner explain`: what is behind a code."""

from __future__ import annotations

import click

from runner.cli import show
from runner.errors import RunnerError


@click.command()
@click.argument("code", required=False)
def explain(code: str | None) -> None:
    """Say what is behind CODE: of an error, of a row's `error`, or of an exit; without CODE, list them all."""
    from runner.explanations import explanations, nearest_codes
    from runner.report.explained import explanation_lines, listing_lines

    known = explanations()
    if code is None:
        show.say(listing_lines(known.values(), show.paint))
        return
    if code not in known:
        near = nearest_codes(code)
        raise RunnerError(
            f"no code of runner is {code!r}",
            hint="The nearest are:" if near else "An error of a row may be the provider's own word.  All codes:",
            commands=[f"runner explain {one}" for one in near] or ["runner explain"],
            code="code-unknown",
        )
    show.say(explanation_lines(known[code], show.paint))
