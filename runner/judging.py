"""Whether an answer is what its batch asked for: JSON that fits the response schema, checked within bounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from jinja2.exceptions import SecurityError

from runner.edge.rows import finite, no_constant
from runner.providers.loose import bounded_loads
from runner.result import Failure, Result
from runner.sandbox import EACH, Allowance, attempt, limited_memory
from runner.schema import answer_validator

Judge = Callable[[Result], Result]
"""Holds an answer against the batch's response schema."""


def judge_for(schema: Mapping[str, Any] | None) -> Judge:
    """A check of answers against ``schema``: parsed where they fit, failed (and not to be retried) where they do not.

    An answer cut off at its token limit is told apart from a misshapen one: the cure is another.
    """
    if schema is None:
        return lambda result: result
    fits = _bounded(_misfit_of(schema))

    def judge(result: Result) -> Result:
        if result.failure is not None or result.text is None:
            return result
        if result.finish_reason == "length":
            return replace(result, failure=Failure("truncated", "the answer was cut off at its token limit", False))
        try:
            parsed = bounded_loads(result.text, parse_constant=no_constant, parse_float=finite)
        except ValueError as error:
            return replace(result, failure=Failure("schema_mismatch", f"the answer is not JSON: {error}", False))
        misfit = fits(parsed, len(result.text))
        if misfit:
            return replace(result, failure=Failure("schema_mismatch", misfit, False))
        return replace(result, parsed=parsed)

    return judge


def _misfit_of(schema: Mapping[str, Any]) -> Callable[[Any], str]:
    """Why an answer does not fit, "" when it does."""
    from jsonschema.exceptions import best_match

    validator = answer_validator(schema)

    def misfit(parsed: Any) -> str:
        worst = best_match(validator.iter_errors(parsed))
        if worst is None:
            return ""
        where = "/".join(str(part) for part in worst.absolute_path) or "the answer"
        return f"{where[:200]}: {worst.message[:200]}"

    return misfit


_PATIENCE = 6.0
"""Processor time that the answers of one batch may take to be checked, beside what each of them brings along."""
_CHARACTER = 2e-5
"""What each character of an answer brings along: many times what an ordinary schema takes for it."""


def _bounded(check: Callable[[Any], str]) -> Callable[[Any, int], str]:
    """``check`` of a value that was so many characters, within the bounds of a template.

    A pattern in a schema can take for ever over a text.  Where some answers took all the time, no further one is tried.
    """
    allowance = Allowance(_PATIENCE)

    def bounded(value: Any, size: int) -> str:
        try:
            with limited_memory():
                return attempt(check, value, allowance=allowance, worth=EACH + size * _CHARACTER)
        except SecurityError as error:
            return f"the schema cannot be checked: {error}"
        except Exception as error:  # such as jsonschema's own, of a number too large to divide
            return f"the schema cannot be checked: {type(error).__name__}: {str(error)[:100]}"

    return bounded
