"""`runner apply`: approval, signals, and what the run came to."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runner.cli import show
from runner.cli.context import tidy
from runner.cli.steps import known_rows, review_of
from runner.edge.signals import stopping
from runner.edge.world import World
from runner.errors import RunnerError
from runner.journal import Journal
from runner.limits import over_error
from runner.outcome import Outcome
from runner.plan import Plan
from runner.report.github import Report
from runner.report.lines import texts
from runner.report.outcome import outcome_lines
from runner.report.text import decision, json_line, plan_lines
from runner.review import Prompts
from runner.spec import Spec
from runner.workflow import Approval, Request, carry_out, check_approval, load_plan, prepare

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


_STOPPING = "Stopping: nothing new is started; what is under way is being recorded.  Once more stops at once."


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
    asks = not approved and prepared.plan.has_changes
    report.review = review_of(world, prepared, None, most=show.EXAMPLES if asks and show.is_terminal(sys.stdout) else 0)
    tidy(world)
    report.rows = known_rows(prepared)
    if approval.digest is not None:
        prepared.check()
    check_approval(prepared.plan, approval)
    if not as_json and (prepared.plan.changes or not prepared.errors):
        show_plan(prepared.plan, report.review.prompts, decisions=False)
    if asks and not _confirmed():
        click.echo("Nothing was done.")
        return 1
    told = partial(world.progress.announce, _STOPPING)
    with stopping(world.stop, [signal.SIGINT, signal.SIGTERM], told):
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
            show.warn("\n".join(texts(decision(task.batch, task.id, task.name))))
    else:
        _show_outcome(outcome)
    for error in outcome.errors:
        show.complain(error)
    return outcome.exit_code(wait=wait)


def show_plan(plan: Plan, prompts: Prompts, commands: Sequence[str] = (), *, decisions: bool = True) -> None:
    """``prompts`` and the ``commands`` to go on with are for people: a log has the lines that scripts may count on."""

    def view(screen: Console) -> RenderableType:
        from runner.report.terminal import plan_view

        return plan_view(plan, screen.width, prompts, commands, decisions=decisions)

    show.show(lambda: plan_lines(plan, decisions=decisions), view)


def _show_outcome(outcome: Outcome) -> None:
    lines = outcome_lines(outcome)

    def view(screen: Console) -> RenderableType:
        from runner.report.terminal import outcome_view

        return outcome_view(outcome, screen.width)

    if lines:
        show.say([""])
        show.show(lambda: lines, view)


def _confirmed() -> bool:
    return click.confirm("Do this?", default=False)


def next_commands(plan: Plan, request: Request, saved: Path | None) -> list[str]:
    """What carries out a plan that was just made, with the options that it was made with.

    The second command insists on this plan.  There is none over a limit, which apply would refuse.
    """
    if not plan.has_changes:
        return []
    if plan.over:
        return list(over_error(plan.over).commands)
    if saved is not None:
        return [shlex.join(["runner", "apply", str(saved)])]
    options = [word for glob in request.select for word in ("--select", glob)]
    options += [word for name, value in request.allow.items() for word in ("--allow", f"{name}={value:g}")]
    options += ["--upgrade"] if request.options.upgrade else []
    apply = ["runner", "apply", *options]
    return [shlex.join(apply), shlex.join([*apply, "--expect", plan.digest])]
