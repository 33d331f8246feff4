"""`runner report`."""

from __future__ import annotations

from pathlib import Path

import click

from runner.cli import show
from runner.cli.context import Context, open_project, pass_context, tidy

FOLDER = "report"


@click.command()
@click.option(
    "--out",
    "out",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help=f"The folder to write; `{FOLDER}` of the project unless said otherwise.",
)
@click.option("--no-answers", is_flag=True, help="No rows: neither prompts, answers, inputs nor words of providers.")
@click.option(
    "--revisions",
    metavar="N",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Earlier revisions of each spec to read, for comparison.",
)
@pass_context
def report(context: Context, out: Path | None, no_answers: bool, revisions: int) -> None:
    """Write a static site of runs, costs, failures and answers.  Asks no provider."""
    from runner.report.text import plain
    from runner.reporting import Wanted, write_report

    with open_project(context) as (world, specs, journal):
        target = out.absolute() if out else world.root / FOLDER
        written = write_report(world, specs, journal.state, target, Wanted(not no_answers, revisions))
        tidy(world)
    for name, remark in written.remarks.items():
        show.warn(f"Warning: {name}: {remark}")
    batches = f"{written.batches:,} batch{'es' if written.batches != 1 else ''}"
    size = f"{written.files:,} files, {written.size / 1e6:,.1f} MB"
    show.say([plain(f"wrote {out or target}/index.html: {batches}, {written.rows:,} rows in {size}")])
