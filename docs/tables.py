"""The parts of the documents that are made from the code.  Run through cog:

``python -m cogapp -r -I docs README.md docs/*.md schemas/README.md`` writes them anew, ``--check`` finds stale ones.
"""

from __future__ import annotations

import json
import pkgutil
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from inspect import cleandoc, getdoc
from pathlib import Path
from typing import Any

import click
from failures import CASES, Case, holders

import runner
from runner.cli.commands import cli
from runner.errors import RunnerError
from runner.explanations import Explanation, explanations
from runner.providers.openai.dialects import DIALECTS
from runner.registry import FAMILIES
from runner.report.explained import explanations_markdown
from runner.schema import schema_text

ROOT = Path(__file__).parent.parent

EXIT_CODES = {
    int(one.code): one.title.removeprefix("Exit code: ") for one in explanations().values() if one.family == "exits"
}
"""Where several apply, the first in this order: 130, 70, 6, 5, 4, 3, 1, 8, 7."""

VERIFIED = {
    "simulator": (
        "a small server inside runner: no key, no cost, seconds",
        "is itself what the tests run against; [what is faithful in it](docs/simulator.md)",
    ),
    "wanqing": (
        "batch tasks of StreamLake Wanqing",
        "against the simulator, and against a second server written from Wanqing's document alone; "
        "**not** against the real service",
    ),
    "online": (
        "any endpoint with `/v1/chat/completions`, `/v1/completions` or `/v1/embeddings`: a MaaS, vLLM, Ollama, "
        "a gateway",
        "against the simulator, the LiteLLM proxy, and a second server of the tests; **not** against maas.wwcsp.com",
    ),
    "alaya": (
        "a deployment of Alaya NeW, looked up and then asked like `online`",
        "against the simulator, and a second server written from Alaya's documents; **not** against the real service",
    ),
    "qianfan": (
        "batch inference of Baidu Qianfan, with files in BOS",
        "against the simulator, which the official `qianfan` SDK and Baidu's BOS client are held against, and a second "
        "server; the signature against the document's rules and Baidu's own signer; **not** against the real service",
    ),
    "openai": (
        f"files and batches on OpenAI's wire, in {len(DIALECTS)} dialects",
        "against the simulator, which the official `openai` SDK is held against, and a second server that has every "
        "dialect's oddities; **not** against any real service",
    ),
    "anthropic": (
        "Anthropic's Message Batches",
        "against the simulator, which the official `anthropic` SDK is held against, and a second server; **not** "
        "against the real service",
    ),
}
"""What each provider type is, and what its code was held against.  A type without an entry cannot be documented."""


# ---- commands --------------------------------------------------------------------------------------------------------


def commands(group: click.Group = cli, path: str = "runner") -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by what is typed."""
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def command_table() -> str:
    return _table(
        ("command", "does"),
        ((f"`{_typed(path, command)}`", _sentence(command.help)) for path, command in commands()),
    )


def command_reference() -> str:
    """A section for every command: what it does, what it takes."""
    return "\n".join(_section(path, command) for path, command in commands())


def global_options() -> str:
    return _options(cli)


def _section(path: str, command: click.Command) -> str:
    return f"## {path}\n\n```text\n{_typed(path, command)}\n```\n\n{cleandoc(command.help or '')}\n{_options(command)}"


def _options(command: click.Command) -> str:
    context = click.Context(command)
    records = (param.get_help_record(context) for param in command.params if isinstance(param, click.Option))
    rows = [(f"`{record[0]}`", record[1]) for record in records if record]
    return "\n" + _table(("option", "means"), rows) if rows else ""


def _typed(path: str, command: click.Command) -> str:
    context = click.Context(command)
    arguments = [param.make_metavar(context) for param in command.params if isinstance(param, click.Argument)]
    options = ["[OPTIONS]"] if any(isinstance(param, click.Option) for param in command.params) else []
    return " ".join([path, *options, *arguments])


# ---- errors ----------------------------------------------------------------------------------------------------------


def exit_codes() -> str:
    return _table(("code", "means"), ((str(code), words) for code, words in EXIT_CODES.items()))


def error_classes() -> list[type[RunnerError]]:
    """Every kind of expected error in the package, a parent before its children."""
    for module in pkgutil.walk_packages(runner.__path__, "runner."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    return list(_below(RunnerError))


def _below(kind: type[RunnerError]) -> Iterator[type[RunnerError]]:
    yield kind
    for child in sorted(kind.__subclasses__(), key=lambda child: child.__name__):
        yield from _below(child)


def error_table() -> str:
    return _table(
        ("error", "is a", "exit code", "means"),
        (
            (f"`{kind.__name__}`", f"`{kind.__base__.__name__}`", str(kind.exit_code), _sentence(getdoc(kind)))
            for kind in error_classes()
            if kind.__base__ is not None
        ),
    )


def all_explanations() -> str:
    """What `runner explain` says of each code."""
    return explanations_markdown(explanations().values())


def night_screens() -> str:
    """What is on the screen in each bad case, and what to do then."""
    known = explanations()
    places = list(known)
    shown = []
    for path in (ROOT / "tests" / "cases" / "night").glob("*.txt"):
        title, explained, screen = path.read_text("utf-8").split("\n", 2)
        shown.append((places.index(explained.removeprefix("explained by ")), title, screen.strip()))
    return "".join(
        f"\n## {title}\n\n```console\n{screen}\n```\n\n{_what_to_do(known[places[place]])}"
        for place, title, screen in sorted(shown)
    )


def _what_to_do(one: Explanation) -> str:
    text = f"**{one.title}.** What to do:\n\n" if not one.code.isdigit() else "What to do:\n\n"
    for action, commands in one.actions:
        text += f"* {action}\n"
        if commands:
            text += "\n  ```sh\n" + "".join(f"  {command}\n" for command in commands) + "  ```\n\n"
    return f"{text.rstrip()}\n\nWhat is lost: {one.lost}  More: [{one.code}](errors.md#{one.code})\n"


# ---- providers and schemas -------------------------------------------------------------------------------------------


def provider_table() -> str:
    definitions = json.loads(schema_text("project"))["$defs"]
    return _table(
        ("type", "what", "keys", "verified"),
        ((f"`{name}`", VERIFIED[name][0], _keys(definitions[name]), VERIFIED[name][1]) for name in sorted(FAMILIES)),
    )


def _keys(definition: Mapping[str, Any]) -> str:
    required = definition.get("required", ())
    names = [name for name in definition["properties"] if name != "type"]
    return ", ".join(f"**`{name}`**" if name in required else f"`{name}`" for name in names)


def spec_fields() -> str:
    return _fields("batch")


def project_fields() -> str:
    """Keys of runner.yaml, and of the provider types that this version has."""
    schema = json.loads(schema_text("project"))
    text = _fields("project", skip=("defaults", "providers"))
    for name in sorted(FAMILIES):
        definition = schema["$defs"][name]
        rows = [row for row in _rows(definition, schema["$defs"], "") if row[0] != "`type`"]
        text += f"\n### type: {name}\n\n{definition['description']}\n\n" + _field_table(rows)
    return text


def _fields(kind: str, skip: Iterable[str] = ()) -> str:
    schema = json.loads(schema_text(kind))
    schema["properties"] = {key: value for key, value in schema["properties"].items() if key not in skip}
    return _field_table(_rows(schema, schema["$defs"], ""))


def _field_table(rows: Iterable[tuple[str, str, str, str]]) -> str:
    return _table(("key", "means", "default", "example"), rows)


def _rows(schema: Mapping[str, Any], definitions: Mapping[str, Any], path: str) -> Iterator[tuple[str, str, str, str]]:
    """One row for each key, with those inside it; a required key is bold."""
    for key, value in schema.get("properties", {}).items():
        field = _resolved(value, definitions)
        name = f"`{path}{key}`"
        example = field.get("examples", [field.get("const", "")])[0]
        yield (
            f"**{name}**" if key in schema.get("required", ()) else name,
            field["description"] + _words(field),
            f"`{field['default']}`" if "default" in field else "",
            f"`{json.dumps(example, ensure_ascii=False)}`",
        )
        for step, inner in _inside(field, definitions):
            yield from _rows(inner, definitions, f"{path}{key}{step}.")


def _inside(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Where keys of a field's value may stand: in itself, in what it may be instead, in its items."""
    yield "", field
    for choice in field.get("anyOf", ()):
        yield from _inside(_resolved(choice, definitions), definitions)
    if "items" in field:
        yield "[]", _resolved(field["items"], definitions)


def _resolved(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """``field``, and beneath what it says itself what its ``$ref`` says."""
    if "$ref" not in field:
        return dict(field)
    said = {key: value for key, value in field.items() if key != "$ref"}
    return _resolved(definitions[field["$ref"].rpartition("/")[2]], definitions) | said


def _words(field: Mapping[str, Any]) -> str:
    return f" One of {', '.join(f'`{word}`' for word in field['enum'])}." if "enum" in field else ""


# ---- failure cases ---------------------------------------------------------------------------------------------------


def failure_table() -> str:
    """Every failure case with its ending and the tests that hold it."""
    held = holders()
    return _table(
        ("case", "what happens", "what a user sees", "held by"),
        ((name, case.what, _ending(case), _tests(held[name], case)) for name, case in CASES.items()),
    )


def _ending(case: Case) -> str:
    return f"does not apply: {case.elsewhere}" if case.elsewhere else case.ending


def _tests(held: list[str], case: Case) -> str:
    return "" if case.elsewhere else "<br>".join(f"`{name}`" for name in held)


# ---- examples --------------------------------------------------------------------------------------------------------


def spec_example() -> str:
    """A spec of this repository as it stands."""
    text = (ROOT / "specs" / "gsm8k-styles.yaml").read_text("utf-8")
    return f"```yaml\n{text}```\n"


def plan_example() -> str:
    """What `runner plan` says of this repository's first specs where nothing has run yet."""
    with tempfile.TemporaryDirectory() as name:
        for part in ("specs", "runner.yaml"):
            source = ROOT / part
            target = Path(name) / part
            shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
        command = [sys.executable, "-P", "-m", "runner", "plan", "--select", "gsm8k*"]
        said = subprocess.run(command, cwd=name, capture_output=True, text=True, check=True).stdout
    return f"```console\n$ runner plan --select 'gsm8k*'\n{said}```\n"


# ---- text ------------------------------------------------------------------------------------------------------------


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _sentence(text: str | None) -> str:
    return " ".join((text or "").split("\n\n")[0].replace("``", "`").split())
