"""Look at the first row of an input before anything is planned: can it be read, does it have what is asked of it?"""

from __future__ import annotations

from contextlib import closing
from functools import partial

from runner.edge.grounds import Grounds
from runner.edge.paths import data_url, template_source
from runner.edge.rows import read
from runner.errors import InvalidDocuments, Problem, RunnerError
from runner.prompt import compile_prompt, compile_where
from runner.sandbox import limited_memory, watched
from runner.spec import Spec


def first_row_problem(spec: Spec, grounds: Grounds) -> Problem | None:
    """What is wrong with the input's first row, or with the prompt that it fills.

    Templates that cannot even be compiled are not this function's affair.
    """
    try:
        with watched(), limited_memory():
            _try_first_row(spec, grounds)
    except InvalidDocuments:
        return None
    except RunnerError as error:
        return _problem(spec, error)
    return None


def _try_first_row(spec: Spec, grounds: Grounds) -> None:
    with closing(read(grounds, spec.input.path)) as rows:
        row = next(rows, None)
    if row is None:
        raise RunnerError(
            f"the input {spec.input.path} has no rows", hint="Fill the file, or remove the spec.", code="input-empty"
        )
    check_key(spec, row, 1)
    keeps = compile_where(spec)
    if keeps is None or keeps(row, 1):
        load, image = partial(template_source, grounds), partial(data_url, grounds)
        compile_prompt(spec, load=load, image=image).fill(row, 1)


def check_key(spec: Spec, row: object, number: int) -> None:
    """Raises RunnerError for a row without the column that `input.key` names."""
    if spec.input.key is not None and isinstance(row, dict) and spec.input.key not in row:
        columns = ", ".join(str(name)[:80] for name in list(row)[:20]) or "none"
        raise RunnerError(
            f"row {number:,} of {spec.input.named} has no column {spec.input.key!r}, as `key` names; it has {columns}",
            where=str(spec.at("input")),
            code="column-missing",
        )


def _problem(spec: Spec, error: RunnerError) -> Problem:
    file, line, column = (error.where or str(spec.at("input"))).rsplit(":", 2)
    return Problem(file, int(line), int(column), error.message, error.hint, code=error.code)
