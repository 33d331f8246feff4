"""`runner init`: at most three questions on a terminal, then a project that runs at once."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runner.cli import show
from runner.cli.context import Context, pass_context
from runner.errors import RunnerError

if TYPE_CHECKING:
    from runner.scaffold_choices import Choice
    from runner.scaffold_files import Wishes


@click.command()
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option("--provider", metavar="TYPE", help="The real provider beside the simulator, such as wanqing or openai.")
@click.option("--data", metavar="FILE", type=click.Path(path_type=Path), help="Your rows, instead of five sample rows.")
@click.option("--github/--no-github", default=None, help="Write the workflows for GitHub, too.")
@click.option("--name", metavar="NAME", help="What the spec is called.")
@click.option("--yes", is_flag=True, help="Ask nothing.")
@pass_context
def init(
    context: Context,
    folder: Path | None,
    provider: str | None,
    data: Path | None,
    github: bool | None,
    name: str | None,
    yes: bool,
) -> None:
    """Write a project that runs at once on the simulator.

    Asks at most three questions, and none without a terminal or with any option.  Writes over nothing.  Of keys in the
    environment it writes the names.
    """
    from runner.scaffold import choice_named, new_project, write_project

    target = context.start / (folder or ".")
    choice = choice_named(provider) if provider is not None else None
    if (target / "runner.yaml").exists():
        raise _there_already(target, folder)
    told = yes or any(given is not None for given in (provider, data, github, name))
    if not told and sys.stdin.isatty() and sys.stdout.isatty():
        choice, data, github = _ask(target)
    wishes, files = new_project(
        target, choice=choice, data=data, github=bool(github), name=name, environ=os.environ.keys()
    )
    from runner.report.text import plain

    show.say(plain(line) for line in write_project(target, files))
    show.say(["", *_next_steps(wishes, command_line(target))])


def _there_already(target: Path, folder: Path | None) -> RunnerError:
    return RunnerError(
        f"{target / 'runner.yaml' if folder else 'runner.yaml'} is there already: this is a project",
        hint="Nothing was written.  It goes on with:",
        commands=[f"{command_line(target)} plan"],
        code="project-exists",
    )


def command_line(target: Path) -> str:
    """How the command is called from where the user stands, for the project in ``target``."""
    called = Path(sys.argv[0])
    found = shutil.which("runner")
    if called.name == "__main__.py":
        command = f"{shlex.quote(sys.executable)} -m runner"
    elif found is not None and os.path.realpath(found) == os.path.realpath(called):
        command = "runner"
    else:
        command = shlex.quote(str(called)) if os.sep in str(called) else "runner"
    here = os.path.realpath(target) == os.path.realpath(Path.cwd())
    return command if here else f"{command} -C {shlex.quote(os.path.relpath(target))}"


# ---- the three questions ---------------------------------------------------------------------------------------------


def _ask(target: Path) -> tuple[Choice | None, Path | None, bool]:
    from runner.edge.steps import place_in_repository

    choice = _ask_provider()
    data = _ask_data(target)
    at_root = place_in_repository(target) == "."
    github = at_root and click.confirm("Write workflows that plan and apply on GitHub?", default=False)
    show.say([""])
    return choice, data, github


def _ask_provider() -> Choice | None:
    """By number or by name.  What is found in the environment stands first, and is the default."""
    from runner.scaffold_choices import SIMULATOR, offered

    choices = offered(os.environ)
    rows = [(one.name, one.about, _found(one)) for one in choices]
    at = sum(bool(found) for _, _, found in rows)
    rows.insert(at, (SIMULATOR, "none yet: the simulator alone", ""))
    show.say(["Who is to answer, in the end?  A simulator stands in until you say so.", ""])
    for number, (name, about, found) in enumerate(rows, start=1):
        show.say(
            [f"  {number:>2}  {name:<12}  {about}{show.paint(f'  ({found} is set)', fg='green') if found else ''}"]
        )
    show.say([""])
    answers = {str(number): name for number, (name, _, _) in enumerate(rows, start=1)}
    answer = click.prompt("Provider", default="1", value_proc=lambda given: _among(given, answers))
    return next((one for one in choices if one.name == answer), None)


def _found(choice: Choice) -> str:
    """The variables that hold its keys, where all are set."""
    names = list(os.environ)
    return ", ".join(choice.variables(names).values()) if choice.is_set(names) else ""


def _among(given: str, answers: dict[str, str]) -> str:
    from runner.schema import nearest

    word = given.strip().lower()
    if word in answers:
        return answers[word]
    if word in answers.values():
        return word
    raise click.UsageError(f"{given!r} is none of them; {nearest(word, answers.values()) or 'a number or a name'}")


def _ask_data(target: Path) -> Path | None:
    """A file of rows that can be read, asked for again until it is one."""
    from runner.report.text import plain
    from runner.scaffold import own_data

    while True:
        given = click.prompt(
            "A file of your rows (.jsonl .json .csv .tsv .parquet; empty: sample rows)", default="", show_default=False
        )
        if not given.strip():
            return None
        file = Path(given.strip()).expanduser()
        try:
            data, _ = own_data(file, target)
        except RunnerError as error:
            show.say([plain(f"  {error.message}")] + ([plain(f"  {error.hint}")] if error.hint else []))
            continue
        used = f"the prompt uses `{data.column}`" if data.column else "the prompt uses the whole row"
        show.say([plain(f"  Its columns: {', '.join(data.columns[:12])}; {used}.")])
        return file


# ---- what comes next -------------------------------------------------------------------------------------------------


def _next_steps(wishes: Wishes, command: str) -> list[str]:
    lines = ["Next, at no cost:", f"    {command} plan", f"    {command} apply --yes --wait"]
    if wishes.choice:
        keys = ", ".join((wishes.variables or {}).values())
        lines += [
            "",
            f"To ask {wishes.choice.name} instead, write it as `provider` in runner.yaml, in the place of demo.",
            f"It takes {keys} in the environment.  What is still missing, found out at no cost:",
            f"    {command} doctor {wishes.choice.name}",
        ]
        if not wishes.choice.family:
            lines += [
                f"Its models, one of which goes into {wishes.spec_path}:",
                f"    {command} models {wishes.choice.name}",
            ]
    if wishes.github:
        lines += [
            "",
            "Before you push: put the state on a branch, as runner.yaml says, and name a commit of runner in both",
            "files of .github/workflows.",
        ]
    return lines
