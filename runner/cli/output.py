"""`runner output`: what became of each row, as lines that other programs read."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runner.cli import show
from runner.cli.completing import spec_names
from runner.cli.context import Context, one_spec, open_project, pass_context, tidy
from runner.errors import RunnerError

if TYPE_CHECKING:
    from runner.reading import Reader
    from runner.spec import Spec

_AT_A_TIME = 64
"""Lines that are printed in one write."""


@click.command()
@click.argument("name", required=False, shell_complete=spec_names)
@click.option("--format", "format", type=click.Choice(["jsonl", "csv", "parquet"]), help="By FILE's ending, or jsonl.")
@click.option(
    "-o",
    "--out",
    "out",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write FILE, whole or not at all.",
)
@click.option("--failed", is_flag=True, help="Only failed and missing rows.")
@click.option(
    "--status",
    "statuses",
    type=click.Choice(["succeeded", "failed", "missing", "pending"]),
    multiple=True,
    help="Only these rows (repeatable).",
)
@click.option("--columns", metavar="A,B", help="Only these, such as key,text,input.question,prompt.")
@click.option("--revision", metavar="N", type=click.IntRange(min=1), help="The answers to an earlier prompt.")
@click.option("--limit", metavar="N", type=click.IntRange(min=1), help="At most N lines.")
@pass_context
def output(
    context: Context,
    name: str | None,
    format: str | None,
    out: Path | None,
    failed: bool,
    statuses: tuple[str, ...],
    columns: str | None,
    revision: int | None,
    limit: int | None,
) -> None:
    """Print what became of each row of spec NAME, also while it runs.  Asks no provider; needs no secret."""
    from runner.edge.outputs import format_of
    from runner.reading import Reader
    from runner.selecting import FAILED

    outcomes = {*statuses, *(FAILED if failed else ())}
    with open_project(context, offline=True) as (world, specs, journal):
        for note in world.store.notes:
            show.warn(f"Warning: {note}")
        spec = one_spec(specs, name) if name else _which(specs)
        wanted = _columns(columns, spec)
        flow = _lines(Reader(world, specs, journal.state), spec, outcomes, wanted, revision)
        _write(islice(flow, limit), wanted, format or (format_of(out) if out else "jsonl"), out)
        tidy(world)


def _which(specs: Sequence[Spec]) -> Spec:
    names = ", ".join(sorted(spec.name for spec in specs)[:20]) or "none"
    raise RunnerError(
        "the name of a spec is missing",
        hint=f"The specs are: {names}",
        commands=["runner output NAME"],
        code="spec-unknown",
    )


def _columns(asked: str | None, spec: Spec) -> list[str]:
    """Those that were asked for, else those of the spec's own output file."""
    from runner.selecting import COLUMNS, check_columns

    if asked is None:
        return [*COLUMNS, *spec.output.include]
    columns = list(dict.fromkeys(filter(None, (column.strip() for column in asked.split(",")))))
    check_columns(columns)
    return columns


def _lines(
    reader: Reader, spec: Spec, outcomes: set[str], columns: list[str], revision: int | None
) -> Iterator[dict[str, Any]]:
    from runner.selecting import chosen, needs_bodies, picked

    lines = reader.lines(spec.name, bodies=needs_bodies(columns), revision=revision)
    return (picked(line, columns) for line in chosen(lines, outcomes))


def _write(lines: Iterable[dict[str, Any]], columns: list[str], format: str, out: Path | None) -> None:
    from runner.edge.outputs import text_of, write_output, write_parquet

    if out is not None:
        if out.exists() and not out.is_file():
            raise RunnerError(
                f"{out} is there, and is not a file", hint="Without -o, the lines are printed.", code="output-place"
            )
        write_output(out, lines, format, columns)
    elif format == "parquet":
        if sys.stdout.isatty():
            raise RunnerError(
                "Parquet is nothing that a terminal could show", hint="Name a file, with -o FILE.", code="output-place"
            )
        write_parquet(sys.stdout.buffer, lines, columns)
    else:
        _print(text_of(format, lines, columns), format)


def _print(texts: Iterator[bytes], format: str) -> None:
    """JSON is spelt so that no terminal obeys it; CSV has no such spelling: it is made harmless for a terminal only."""
    from runner.report.text import plain, safe_json

    shown = sys.stdout.isatty()
    while some := list(islice(texts, _AT_A_TIME)):
        lines = (text.decode() for text in some)
        if format == "jsonl":
            lines = (safe_json(line.removesuffix("\n")) + "\n" for line in lines)
        elif shown:
            lines = (plain(line.removesuffix("\n")) + "\n" for line in lines)
        click.echo("".join(lines), nl=False, color=True)
