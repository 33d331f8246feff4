"""Expressions of checks: compiled once, and held against each row and its answer within a template's bounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from runner.bounds import AbsentError
from runner.errors import InvalidDocuments, Problem, RunnerError
from runner.sandbox import Allowance, limited_memory, render, watched
from runner.sources import Sources, short
from runner.spec import Spec, Template

VARIABLES = frozenset({"row", "text", "parsed", "finish_reason", "usage", "key", "vars", "name"})
"""What an expression knows."""
_PATIENCE = 6.0
"""Processor time that a batch's expressions may take together, beside what each row brings along."""

Holds = Callable[[Mapping[str, Any]], tuple[bool, str]]
"""Whether an expression holds of the variables, and why that cannot be said, "" where it can."""


def check_problems(spec: Spec) -> list[Problem]:
    """What is wrong with the expressions of a spec's checks, as far as it shows without a row."""
    if not any(check.expression for check in spec.checks):
        return []
    with watched(), limited_memory():
        return sorted(set(_sources(spec).problems))


def compile_checks(spec: Spec) -> dict[str, Holds]:
    """The expressions of a spec's checks, by the check's name.  Raises InvalidDocuments."""
    with watched(), limited_memory():
        sources = _sources(spec)
        if sources.problems:
            raise InvalidDocuments(sources.problems)
        allowance = Allowance(_PATIENCE)
        return {name: _holds(sources, name, allowance) for name in sources.by_name}


def _sources(spec: Spec) -> Sources:
    wanted = {
        check.name: Template(check.expression, spec.at(f"checks.{index}"))
        for index, check in enumerate(spec.checks)
        if check.expression
    }
    return Sources(spec, wanted, _no_files, expressions=True, variables=VARIABLES)


def _holds(sources: Sources, name: str, allowance: Allowance) -> Holds:
    template = sources.template(name)

    def holds(variables: Mapping[str, Any]) -> tuple[bool, str]:
        try:
            return bool(render(template, variables, allowance)), ""
        except AbsentError as error:
            return False, f"there is no {short(error.name)!r}"
        except Exception as error:  # whatever an expression runs into is its own affair
            return False, short(error, 200) or type(error).__name__

    return holds


def _no_files(name: str) -> str:
    raise RunnerError(f"an expression cannot refer to {name!r}", code="template-invalid")
