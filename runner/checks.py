"""Checks: what the answers of a batch have to be as a whole, and what looking at them came to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

KINDS = ("schema", "failed", "expression", "refusals", "truncated")
ERROR = "error"
EXAMPLES = 5
"""Keys that are kept of the rows that speak against a check."""
LONGEST_KEY = 100
"""Characters of such a key that are kept."""


@dataclass(frozen=True)
class Check:
    """A check as declared: ``limit`` is a share, of which ``bound`` says whether it is the least or the greatest."""

    name: str
    kind: str
    bound: str
    limit: float
    severity: str = ERROR
    expression: str = ""


@dataclass(frozen=True)
class CheckResult:
    """``count`` of ``total`` rows are what the check counts: those that are right for a ``min``, wrong for a ``max``.

    ``examples`` are keys of rows that speak against it.  ``note`` says why the first row could not be looked at.
    """

    name: str
    kind: str
    bound: str
    limit: float
    severity: str
    count: int
    total: int
    examples: tuple[str, ...] = ()
    note: str = ""

    @property
    def share(self) -> float | None:
        """None where there was no row to look at."""
        return self.count / self.total if self.total else None

    @property
    def holds(self) -> bool:
        """A check of no rows holds: that there are none is for `failed` to say."""
        if self.share is None:
            return True
        return self.share >= self.limit if self.bound == "min" else self.share <= self.limit

    @property
    def is_error(self) -> bool:
        """Whether it stops what depends on the answers."""
        return not self.holds and self.severity == ERROR

    def __str__(self) -> str:
        share = "no row" if self.share is None else percent(self.share)
        counted = _COUNTED.get(self.kind, "of the rows")  # the state may be of a newer version
        wanted = f"at {'least' if self.bound == 'min' else 'most'} {percent(self.limit)}"
        return f"`{self.name}`: {share} {counted} ({self.count:,} of {self.total:,}), {wanted} wanted"

    def to_json(self) -> dict[str, Any]:
        """As in the state."""
        data = asdict(self)
        return {**data, "examples": list(self.examples)}

    def shown(self) -> dict[str, Any]:
        """As commands show it."""
        return {**self.to_json(), "share": self.share, "holds": self.holds}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CheckResult:
        return cls(**{**data, "examples": tuple(data["examples"]), "limit": float(data["limit"])})


_COUNTED = {
    "schema": "of the answers fit the response schema",
    "failed": "of the rows failed or are missing",
    "expression": "of the rows are as the expression says",
    "refusals": "of the answers look like refusals",
    "truncated": "of the answers were cut off at their token limit",
}


def percent(share: float) -> str:
    """A share with as many digits as tell it from its neighbours."""
    return f"{share * 100:.4g}%"


def failing(results: Sequence[CheckResult]) -> CheckResult | None:
    """The first check that stops what depends on the answers."""
    return next((result for result in results if result.is_error), None)


def example_keys(result: CheckResult) -> str:
    """The rows that speak against it, as the end of a sentence."""
    rows = f"; rows {', '.join(result.examples)}" if result.examples else ""
    return f"{rows}; {result.note}" if result.note else rows


# ---- what is looked at in one answer -------------------------------------------------------------------------------


def is_answered(line: Mapping[str, Any]) -> bool:
    """Whether the model said something, well or badly: whether there is a text to judge."""
    return line["text"] is not None


def is_truncated(line: Mapping[str, Any]) -> bool:
    return line["finish_reason"] == "length" or _code(line) == "truncated"


def is_misshapen(line: Mapping[str, Any]) -> bool:
    return _code(line) in ("schema_mismatch", "truncated")


def is_refusal(line: Mapping[str, Any]) -> bool:
    """Whether an answer looks like a refusal: the provider says so, or it begins with one of OPENINGS.

    A guess: a refusal in other words is not seen, and a text that merely begins so is taken for one.
    """
    if _code(line) in ("refusal", "content_filter") or line["finish_reason"] in ("refusal", "content_filter"):
        return True
    head = (line["text"] or "")[:200].lstrip(" \t\r\n\"'“”「#*_>").replace("’", "'").lower()
    return _OPENING.match(head) is not None


OPENINGS = (
    "i'm sorry, but i",
    "i am sorry, but i",
    "i'm sorry, i can",
    "sorry, but i can",
    "sorry, i can",
    "i apologize, but i",
    "i can't help",
    "i cannot help",
    "i can't assist",
    "i cannot assist",
    "i can't provide",
    "i cannot provide",
    "i can't comply",
    "i cannot comply",
    "i won't be able to",
    "i'm unable to",
    "i am unable to",
    "i'm not able to",
    "i am not able to",
    "i must decline",
    "as an ai",
    "抱歉",
    "很抱歉",
    "非常抱歉",
    "对不起",
    "我无法",
    "我不能",
    "作为一个人工智能",
    "作为一个ai",
    "作为ai",
)
"""How answers begin that are taken for refusals, in lower case."""
_OPENING = re.compile("|".join(map(re.escape, sorted(OPENINGS, key=len, reverse=True))))


def _code(line: Mapping[str, Any]) -> str:
    return line["error"]["code"] if line["error"] else ""
