"""`runner apply`: approval, signals, and what the run came to."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click

from runner.cli import show
from runner.cli.context import tidy
from runner.cli.steps import known_rows, review_of
from runner.edge.world import World
from runner.errors import RunnerError
from runner.journal import Journal
from runner.report.github import Report
from runner.report.text import decision_lines, json_line, outcome_lines, plan_lines
from runner.spec import Spec
from runner.workflow import Approval, Request, carry_out, check_approval, load_plan, prepare


def run_apply(
    world: World,
    specs: Sequence[Spec],
    journal: Journal,
    request: Request,
    report: Report,
    *,
    saved: Path | None,
    yes: bool,
    wait: bool,
    timeout: float | None,
    expect: str | None,
    collect: bool,
    as_json: bool,
) -> int:
    """Plan, get it approved, carry it out, say what came of it; returns the exit code."""
    approval = Approval(digest=expect)
    if saved is not None:
        approval, request = load_plan(saved, request, expect)
    approved = yes or collect or expect is not None or saved is not None
    if not approved and (as_json or not sys.stdin.isatty()):
        raise RunnerError(
            "apply asks before it acts, and there is no terminal to ask at",
            hint="Approve beforehand:",
            commands=["runner apply --yes", "runner apply --expect DIGEST"],
            code="approval-missing",
        )
    prepared = prepare(world, specs, journal.state, request)
    tidy(world)
    report.review = review_of(world, prepared, None, in_full=False)
    report.rows = known_rows(prepared)
    if approval.digest is not None:
        prepared.check()
    check_approval(prepared.plan, approval)
    if not as_json and (prepared.plan.changes or not prepared.errors):
        show.say(plan_lines(prepared.plan, show.paint, decisions=False))
    if not approved and prepared.plan.has_changes and not _confirmed():
        click.echo("Nothing was done.")
        return 1
    with _stopping(world):
        outcome = carry_out(
            world,
            journal,
            prepared,
            request,
            wait=wait,
            timeout=timeout,
            resubmits=approval.digest is None,
            collects=collect,
        )
    report.outcome = outcome
    tidy(world)
    if as_json:
        click.echo(json_line(outcome.to_json()))
        for task in outcome.unresolved:
            show.warn("\n".join(decision_lines(task.batch, task.id, name=task.name)))
    else:
        lines = outcome_lines(outcome, show.paint)
        show.say(["", *lines] if lines else [])
    for error in outcome.errors:
        show.complain(error)
    return outcome.exit_code(wait=wait)


def _confirmed() -> bool:
    return click.confirm("Do this?", default=False)


@contextmanager
def _stopping(world: World) -> Iterator[None]:
    """After SIGINT or SIGTERM nothing new starts and what is under way is recorded.  A second one does not wait."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        if world.stop.is_set():
            raise KeyboardInterrupt
        world.stop.set()
        click.echo(
            "\nStopping: nothing new is started; what is under way is being recorded.  Once more stops at once.",
            err=True,
        )

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
