"""As much of GitHub's expressions as the files of this repository use.  What it does not know is an error."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_TOKEN = re.compile(r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<sign>==|!=|&&|\|\|)|(?P<name>[A-Za-z_][\w.-]*(?:\(\))?))")


def fill(text: str, contexts: Mapping[str, Any]) -> str:
    """``text`` with every ``${{ }}`` in it evaluated."""
    return re.sub(r"\$\{\{(.*?)\}\}", lambda match: spelled(evaluate(match[1], contexts)), text)


def spelled(value: Any) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def evaluate(expression: str, contexts: Mapping[str, Any]) -> Any:
    """The value of one expression: names, texts, ``== != && ||``, with no parentheses."""
    tokens = list(_tokens(expression))
    value = _either(tokens, contexts)
    if tokens:
        raise ValueError(f"{expression!r} goes on after its end")
    return value


def _tokens(expression: str) -> Iterator[re.Match[str]]:
    at, end = 0, len(expression.rstrip())
    while at < end:
        match = _TOKEN.match(expression, at)
        if match is None:
            raise ValueError(f"{expression!r} holds more than is understood here")
        yield match
        at = match.end()


def _next_is(tokens: list[re.Match[str]], *signs: str) -> str | None:
    return tokens.pop(0)["sign"] if tokens and tokens[0]["sign"] in signs else None


def _either(tokens: list[re.Match[str]], contexts: Mapping[str, Any]) -> Any:
    value = _both(tokens, contexts)
    while _next_is(tokens, "||"):
        other = _both(tokens, contexts)
        value = value or other
    return value


def _both(tokens: list[re.Match[str]], contexts: Mapping[str, Any]) -> Any:
    value = _compared(tokens, contexts)
    while _next_is(tokens, "&&"):
        other = _compared(tokens, contexts)
        value = value and other
    return value


def _compared(tokens: list[re.Match[str]], contexts: Mapping[str, Any]) -> Any:
    value = _single(tokens, contexts)
    if sign := _next_is(tokens, "==", "!="):
        same = spelled(value).lower() == spelled(_single(tokens, contexts)).lower()
        return same == (sign == "==")
    return value


def _single(tokens: list[re.Match[str]], contexts: Mapping[str, Any]) -> Any:
    token = tokens.pop(0)
    if token["text"] is not None:
        return token["text"][1:-1].replace("''", "'")
    if token["name"] is None:
        raise ValueError(f"{token[0]!r} has nothing before it")
    value: Any = contexts
    for part in token["name"].split("."):
        value = value[part]
    return value
