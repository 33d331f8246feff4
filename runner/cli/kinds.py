"""Kinds of values that options take."""

from __future__ import annotations

import re
from typing import Any

import click

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class _Duration(click.ParamType[float]):
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):
            return float(value)
        found = re.fullmatch(r"(\d+)([smhd])", value)
        if not found:
            self.fail(f"{value!r} is not a duration such as 90s, 15m, 24h or 7d", param, ctx)
        return float(found[1]) * _UNITS[found[2]]


class _Allow(click.ParamType[tuple[str, float]]):
    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        if isinstance(value, tuple):
            return value
        name, _, number = value.partition("=")
        try:
            amount = float(number)
        except ValueError:
            amount = -1.0
        if not 0 <= amount < float("inf"):
            self.fail(f"{value!r} is not NAME=VALUE, such as cost=80", param, ctx)
        return name, amount


class _Label(click.ParamType[str]):
    name = "label"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not 1 <= len(value.strip()) <= len(value) <= 200 or not value.isprintable():
            self.fail("a name of 1 to 200 printable characters is wanted", param, ctx)
        return str(value)


LABEL = _Label()
DURATION = _Duration()
ALLOW = _Allow()
