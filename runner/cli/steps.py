"""Tell the step of a workflow that runs a command what it came to, whatever ends it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runner.cli import show
from runner.errors import RunnerError

if TYPE_CHECKING:
    from runner.edge.world import World
    from runner.report.github import Report
    from runner.result import Counts
    from runner.review import Review
    from runner.workflow import Prepared

_OUTPUT, _SUMMARY = "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"


def wants_summary() -> bool:
    return bool(os.environ.get(_SUMMARY))


def review_of(world: World, prepared: Prepared, label: str | None, *, most: int | None) -> Review:
    """The plan as a reviewer sees it, with at most so many examples of prompts, which are rendered for it."""
    from runner.edge.steps import place_in_repository
    from runner.review import Prompts, Review
    from runner.reviewing import prompts

    shown = Prompts() if most == 0 else prompts(world, prepared.believed, prepared.resolved, most)
    return Review.of(prepared.plan, label or place_in_repository(world.root), shown)


def known_rows(prepared: Prepared) -> dict[str, Counts]:
    """Rows of the plan's specs by outcome, as far as the state tells."""
    from runner.report.status import batch_rows

    names = [one.batch.spec.name for one in prepared.resolved]
    return {name: batch_rows(prepared.believed, name) for name in names}


@contextmanager
def reporting(command: str) -> Iterator[Report]:
    """A report to fill in.  It is written where the environment says so, also when the block ends in an error."""
    from runner.report.github import Report

    report = Report(command)
    try:
        yield report
    except click.exceptions.Exit:
        raise
    except BaseException as error:
        report.errors.append(_as_expected(error))
        raise
    finally:
        _write(report)


def _as_expected(error: BaseException) -> RunnerError:
    """Any end of a command in words that hold nothing of its values."""
    if isinstance(error, RunnerError):
        return error
    if isinstance(error, OSError):
        return RunnerError(
            f"{error.filename or 'the disk'}: {error.strerror or type(error).__name__}", code="disk-refused"
        )
    if isinstance(error, Exception) and not isinstance(error, MemoryError | click.ClickException):
        return RunnerError(f"this is a bug in runner: {type(error).__name__}; the log says more", code="70")
    return RunnerError("stopped; the state is whole, and the same command goes on from here", code="130")


def _write(report: Report) -> None:
    from runner.edge.steps import append, size
    from runner.report.github import SUMMARY

    output, summary = os.environ.get(_OUTPUT), os.environ.get(_SUMMARY)
    try:
        if output:
            append(Path(output), report.outputs())
        if summary:
            room = SUMMARY - size(Path(summary))
            text = report.summary(room - 1)
            if len(text.encode()) < room:
                append(Path(summary), f"{text}\n")
            else:
                show.warn("Warning: the job's summary is full: nothing was added to it.")
    except OSError as error:
        show.warn(f"Warning: the workflow's step was told nothing: {error.filename}: {error.strerror}")
