"""Offers as a table of plain lines."""

from __future__ import annotations

from collections.abc import Sequence

from runner.model import Listed
from runner.report.text import plain, width


def model_lines(rows: Sequence[Listed]) -> list[str]:
    """Id, name, context, price and modalities; below each, what it lacks."""
    if not rows:
        return ["No model is on sale."]
    cells = [_cells(row) for row in rows]
    head = ("PROVIDER", "ID", "NAME", "CONTEXT", "IN / OUT PER 1K", "INPUTS")
    widths = [max(width(line[column]) for line in (head, *cells)) for column in range(len(head))]
    lines = [_pad(head, widths)]
    for row, line in zip(rows, cells, strict=True):
        lines.append(_pad(line, widths))
        lines += [f"    lacks: {plain(reason)}" for reason in row.lacks]
    return lines


def _cells(row: Listed) -> tuple[str, ...]:
    offer = row.offer
    price = "unknown"
    if offer.price:
        price = f"{offer.price.input:g} / {offer.price.output:g} {offer.price.currency}"
        price += " (online)" if offer.price.upper_bound else ""
    context = "unknown" if offer.context is None else f"{offer.context:,}"
    inputs = "unknown" if offer.inputs is None else ", ".join(sorted(offer.inputs))
    return tuple(plain(cell) for cell in (row.provider, offer.id, offer.name, context, price, inputs))


def _pad(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell + " " * (size - width(cell)) for cell, size in zip(cells, widths, strict=True)).rstrip()
