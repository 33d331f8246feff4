"""`runner doctor`: what is missing, found out at no cost."""

from __future__ import annotations

import click

from runner.cli import show
from runner.cli.completing import provider_names
from runner.cli.context import Context, pass_context


@click.command()
@click.argument("provider", required=False, shell_complete=provider_names)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.option("--offline", is_flag=True, help="Ask nobody: neither providers nor a store elsewhere.")
@pass_context
def doctor(context: Context, provider: str | None, as_json: bool, offline: bool) -> None:
    """Look for what a run would stumble over: keys, models, limits, the state's store, clocks, git.

    Costs nothing, and writes nothing but caches.  Exits 0 unless something fails: 4 where a credential is missing or
    refused, else 1.
    """
    from runner.checkup import exit_code
    from runner.doctor import Request, examine
    from runner.report.checkup import checkup_lines
    from runner.report.text import json_line
    from runner.sandbox import rationed

    with rationed():
        findings = list(examine(context.start, Request(provider, offline)))
    if as_json:
        click.echo(json_line({"checks": [finding.to_json() for finding in findings]}))
    else:
        show.say(checkup_lines(findings, show.paint))
    if code := exit_code(findings):
        raise click.exceptions.Exit(code)
