"""What `runner init` does: look at the rows that are there, and write a project that runs at once on the simulator."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import Any

from runner.document import parse
from runner.edge.grounds import Grounds
from runner.edge.rows import read
from runner.edge.steps import place_in_repository
from runner.errors import RunnerError
from runner.load import RUNNER_YAML
from runner.project import Project
from runner.scaffold_choices import CHOICES, SIMULATOR, Choice
from runner.scaffold_files import FIRST_ROWS, SAMPLE, Data, Wishes, can_be_referred_to, project_files
from runner.schema import nearest, schema_text

_KEPT = (".gitignore", "README.md")
"""Files that may be there already, and then stay as they are."""
_WORKFLOWS = ("batch.yml", "batch-comment.yml")
_KEYS = ("id", "key", "uuid", "name")
_QUESTIONS = ("question", "prompt", "query", "instruction", "text", "input", "content", "message", "title")
_SECRETS = "      WANQING_API_KEY: ${{ secrets.WANQING_API_KEY }}\n"
"""What stands in the workflow for the keys that are handed on."""

Source = str | Path
"""What is written: a text, or the bytes of a file."""


def choice_named(name: str) -> Choice | None:
    """The provider of that name, None for the simulator alone.  Raises RunnerError."""
    if name == SIMULATOR:
        return None
    if name not in CHOICES:
        hint = nearest(name, [SIMULATOR, *CHOICES])
        raise RunnerError(
            f"there is no provider {name!r} to begin with",
            hint=hint or f"There are {', '.join([SIMULATOR, *CHOICES])}.",
            code="init-answer",
        )
    return CHOICES[name]


def own_data(file: Path, folder: Path) -> tuple[Data, dict[str, Source]]:
    """The rows in ``file`` as a project in ``folder`` reads them, and what has to be copied for it.

    A file outside the folder is copied into ``specs/data``: specs read nothing else.  Raises RunnerError for one that
    cannot be read, or has no rows.
    """
    file, folder = file.absolute(), folder.absolute()
    rows = _first_rows(file)
    shared = [name for name in rows[0] if all(name in row for row in rows)]
    real, ground = Path(os.path.realpath(file)), Path(os.path.realpath(folder))
    inside = real.is_relative_to(ground)
    path = real.relative_to(ground).as_posix() if inside else f"specs/data/{file.name}"
    data = Data(path, _question(shared, rows), _key(shared, rows), tuple(rows[0]))
    return data, {} if inside else {path: file}


def _first_rows(file: Path) -> list[dict[str, Any]]:
    grounds = Grounds(file.parent)
    try:
        with closing(read(grounds, file.name)) as rows:
            found = list(islice(rows, FIRST_ROWS))
    except RunnerError as error:
        raise RunnerError(error.message, where=error.where, hint=_of_a_file(error.hint), code=error.code) from None
    if not found:
        raise RunnerError(f"{file} has no rows", hint="Give a file with one row at least.", code="input-empty")
    return found


def _of_a_file(hint: str) -> str:
    return "Look at the path: it counts from where you are." if "relative to the project" in hint else hint


def _question(columns: list[str], rows: list[dict[str, Any]]) -> str | None:
    """The column that the prompt is to hold: one called so, else the one with the longest texts."""
    usable = [name for name in columns if can_be_referred_to(name)]
    lowered = {name.lower(): name for name in reversed(usable)}
    for word in _QUESTIONS:
        if word in lowered:
            return lowered[word]
    lengths = {name: sum(len(row[name]) for row in rows if isinstance(row[name], str)) for name in usable}
    return max(usable, key=lambda name: lengths[name], default=None)


def _key(columns: list[str], rows: list[dict[str, Any]]) -> str | None:
    """A column that is called as if it told rows apart, and does."""
    lowered = {name.lower(): name for name in reversed(columns) if name.isprintable()}
    for word in _KEYS:
        name = lowered.get(word)
        if name is not None and len({str(row[name]) for row in rows}) == len(rows):
            return name
    return None


def name_for(text: str) -> str:
    """A spec's name made of any text; ``batch`` where nothing of it can stand in one."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63].strip("-") or "batch"


def checked_name(name: str) -> str:
    """Raises RunnerError for what can be no spec's name."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", name):
        raise RunnerError(
            f"{name!r} cannot be a spec's name: lower-case letters, digits and dashes, at most 63",
            hint=name_for(name),
            code="init-answer",
        )
    return name


def new_project(
    folder: Path, *, choice: Choice | None, data: Path | None, github: bool, name: str | None, environ: Iterable[str]
) -> tuple[Wishes, dict[str, Source]]:
    """What a project in ``folder`` is to be, and its files.  ``environ``: names of variables.  Raises RunnerError."""
    rows, more = (SAMPLE, {}) if data is None else own_data(data, folder)
    stem = Wishes.name if data is None else name_for(data.name.partition(".")[0])
    wishes = Wishes(
        name=stem if name is None else checked_name(name),
        data=rows,
        choice=choice,
        variables=choice.variables(environ) if choice else None,
        github=github,
    )
    _stay_out_of_specs(folder)
    if github and (place := place_in_repository(folder)) != ".":
        raise RunnerError(
            f"workflows lie at the root of a repository, and this folder is its {place}",
            hint="Make the project without --github, and copy the workflows with `directory: PLACE`: docs/gitops.md",
            code="init-answer",
        )
    files: dict[str, Source] = {**project_files(wishes), **more}
    files |= {f"schemas/{kind}.schema.json": schema_text(kind) for kind in ("batch", "project")}
    if github:
        files |= {f".github/workflows/{file}": workflow_text(file, wishes.variables or {}) for file in _WORKFLOWS}
    return wishes, files


def _stay_out_of_specs(folder: Path) -> None:
    """Raises RunnerError where another project would take the new one's files for its specs."""
    real = Path(os.path.realpath(folder))
    for root in real.parents:
        if (root / RUNNER_YAML).is_file() and real.is_relative_to(root / _specs_of(root)):
            raise RunnerError(
                f"{folder} lies among the specs of the project in {root}, which would read its files",
                hint="Make the project elsewhere, or add a spec to that one.",
                code="init-answer",
            )


def _specs_of(root: Path) -> str:
    documents, _ = parse((root / RUNNER_YAML).read_bytes(), RUNNER_YAML)
    return (documents[0].find(("specs",), str) if documents else None) or Project.specs


def workflow_text(file: str, variables: Mapping[str, str]) -> str:
    """A workflow as it is packaged, with the keys of the project's provider handed on."""
    packaged = resources.files("runner") / "workflows" / file
    if packaged.is_file():
        text = packaged.read_text("utf-8")
    else:  # a source checkout
        text = (Path(__file__).parent.parent / "docs" / "gitops" / "workflows" / file).read_text("utf-8")
    handed_on = "".join(f"      {name}: ${{{{ secrets.{name} }}}}\n" for name in variables.values())
    return text.replace(_SECRETS, handed_on) if handed_on else text.replace(f"    secrets:\n{_SECRETS}", "")


def write_project(folder: Path, files: Mapping[str, Source]) -> Iterator[str]:
    """Write all files, none of them over another, or none at all; yields what became of each, in words.

    Raises RunnerError for a file that is in the way, OSError for what the disk refuses.
    """
    taken = [name for name in files if os.path.lexists(folder / name)]
    in_the_way = [name for name in taken if name not in _KEPT]
    if in_the_way:
        project = folder if "runner.yaml" in in_the_way else None
        raise RunnerError(
            f"{folder / in_the_way[0]} is there already",
            hint="Nothing was written.  The project goes on with:" if project else "Nothing was written.",
            commands=["runner plan"] if project else (),
            code="project-exists",
        )
    made: list[Path] = []
    try:
        for name, source in files.items():
            if name not in taken:
                _write(folder / name, source, made)
    except BaseException:
        _undo(made)
        raise
    for name in files:
        yield f"left {name} as it was" if name in taken else f"wrote {name}"


def _write(path: Path, source: Source, made: list[Path]) -> None:
    missing = [folder for folder in path.parents if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        made.append(folder)
    with path.open("xb") as file:  # never over another, even one that has just come
        made.append(path)
        if isinstance(source, Path):
            with source.open("rb") as rows:
                shutil.copyfileobj(rows, file)
        else:
            file.write(source.encode())


def _undo(made: list[Path]) -> None:
    for path in reversed(made):
        with suppress(OSError):  # a folder into which somebody else has put something stays
            path.rmdir() if path.is_dir() else path.unlink()
