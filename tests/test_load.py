"""Reading a project: golden stories compared whole, typed specs, and files that mean harm."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from runner import load as loading
from runner.errors import InvalidDocuments, Problem, RunnerError
from runner.limits import Limit, Limits
from runner.load import find_root, load, problems
from runner.model import Bound, Selector
from runner.project import Blobs, ProviderConfig, SecretRef
from runner.spec import Input, MessageTemplate, Output, PartTemplate, Place, Spec, Template, Wait

CASES = Path(__file__).parent / "cases" / "documents"
RUNNER = "version: 1\nproviders: {demo: {type: simulator}}\n"
ROWS = "q,a\n1 + 1,2\n"


def spec(name: str = "a", more: str = "text: Hello\n", *, input: str = "rows.csv") -> str:
    return f"version: 1\nname: {name}\nprovider: demo\nmodel: mi-9\ninput: {{path: {input}}}\n{more}"


def project(root: Path, files: Mapping[str, str | bytes]) -> Path:
    """A project with rows.csv and these files; a runner.yaml with one provider where there is none among them."""
    for name, text in {"runner.yaml": RUNNER, "rows.csv": ROWS, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    return root


def said(root: Path) -> list[str]:
    return [f"{problem.where}: {problem.message}" for problem in problems(root)]


def written(found: list[Problem]) -> str:
    """Problems as the golden files have them: one line each, its hint indented below."""
    return "".join(f"{one.where}: {one.message}\n" + (f"    {one.hint}\n" if one.hint else "") for one in found)


@pytest.mark.parametrize("story", sorted(case.name for case in CASES.iterdir()))
def test_story(story: str) -> None:
    """Every problem of every file of a story, at its place, with its hint, and no other."""
    assert written(problems(CASES / story)) == (CASES / story / "problems.txt").read_text("utf-8")


@pytest.mark.parametrize("story", sorted(case.name for case in CASES.iterdir()))
def test_load_raises_what_validate_reports(story: str) -> None:
    """Loading fails with the same problems, all of them at once, or does not fail."""
    found = problems(CASES / story)
    if not found:
        load(CASES / story)
        return
    with pytest.raises(InvalidDocuments) as caught:
        load(CASES / story)
    assert caught.value.problems == tuple(found)


def test_no_secret_is_repeated() -> None:
    """The story of secrets written in the wrong places quotes none of them."""
    text = (CASES / "secrets" / "runner.yaml").read_text("utf-8")
    assert text.count("hunter2") > 8
    assert "hunter2" not in written(problems(CASES / "secrets"))


# What comes of valid documents


def fine() -> dict[str, Spec]:
    return {one.name: one for one in load(CASES / "fine")[1]}


def template(source: str, line: int, column: int, file: str = "specs/all.yaml") -> Template:
    return Template(source, Place(file, line, column))


def test_a_project_is_typed() -> None:
    """Sizes are numbers, durations seconds, secrets references, and each provider knows its line."""
    found, _ = load(CASES / "fine")
    limit = Limit(requests=100_000, tokens=20_000_000, cost={"CNY": 50, "USD": 10}, repeat=0.5)
    assert found.limits == Limits(limit, Limit(cost={"": 5}), Limit(cost={"": 40}), Limit(requests=2_000_000))
    assert found.paused is True
    assert found.blobs == Blobs("drop", "git")
    assert found.state == "git:runner-state"
    assert found.state_folder is None
    assert found.defaults["provider"] == "demo"
    assert found.providers["demo"] == ProviderConfig(
        "demo", "simulator", {"speed": 10, "max_requests": 100, "max_bytes": 1_000_000}, Place("runner.yaml", 9, 3)
    )
    assert found.providers["maas"].settings == {
        "base_url": "http://127.0.0.1:8000",
        "api_key": SecretRef(file="/run/secrets/key"),
        "timeout": 300,
        "concurrency": 16,
        "stream": True,
        "auth_header": "apiKey",
    }
    assert found.providers["wanqing"].settings["api_key"] == SecretRef(env="WANQING_API_KEY")


def test_a_spec_with_every_key_is_typed() -> None:
    """Each key of the contract arrives in its field."""
    found = fine()["everything-easy"]
    assert found == Spec(
        name="everything-easy",
        place=Place("specs/all.yaml", 2, 1),
        provider="wanqing",
        model=Selector(
            family="Qwen3",
            vendor="Qwen",
            name="qwen3-*",
            tags=("supportOffline",),
            capabilities=("reasoning",),
            inputs=("text",),
            outputs=("text",),
            thinking=True,
            functions=False,
            context=Bound(">=", 32_000),
            price_input=Bound("<=", 0.01),
            price_output=Bound("<", 0.03),
            prefer="largest-context",
        ),
        input=Input("specs/rows.jsonl", "id", template("row.q != ''", 21, 49), 100),
        messages=(
            MessageTemplate("system", (PartTemplate("text", template("You are a tutor.\nBe careful.\n", 25, 5)),)),
            MessageTemplate(
                "user",
                (PartTemplate("text", Template("{{ row.q }}\n", Place("prompts/question.j2"), "prompts/question.j2")),),
            ),
        ),
        description="Every key",
        labels={"team": "evals", "suite": "math"},
        vars={"style": "long", "tone": "kind", "level": "Easy"},
        parameters={"temperature": 0, "max_tokens": 512, "prompt": "beside", "enable_thinking": False},
        schema={"type": "object"},
        samples=2,
        wait=Wait(43_200, 604_800),
        attempts=5,
        on_remove="cancel",
        output=Output("outputs/everything-easy-LONG.csv", ("input",)),
        places=found.places,
    )
    assert found.at("prompt") == Place("specs/all.yaml", 23, 1)
    assert found.at("input.where") == Place("specs/all.yaml", 21, 42)
    assert found.at("nothing") == found.place
    assert set(found.places) >= {
        *("name", "provider", "model", "input", "input.where", "prompt", "parameters", "response", "output", "matrix"),
        "wait",
    }


def test_a_matrix_is_several_specs() -> None:
    """One for each combination, in the order in which they are written, the values in `vars`."""
    found = [(name, one.vars["level"]) for name, one in fine().items() if name.startswith("everything")]
    assert found == [("everything-easy", "Easy"), ("everything-2", 2)]


def test_messages_with_parts() -> None:
    """Each part's template knows the line of its first text."""
    found = fine()["turns"]
    assert found.provider == "demo"
    assert found.at("provider").file == "runner.yaml"
    assert found.messages == (
        MessageTemplate("system", (PartTemplate("text", template("Look closely.", 43, 14)),)),
        MessageTemplate(
            "user",
            (
                PartTemplate("text", template("What is this?\n", 47, 11)),
                PartTemplate("image", template("{{ row.q }}", 49, 16)),
            ),
        ),
    )
    assert found.output == Output("outputs/turns.jsonl")


def test_a_bare_text() -> None:
    """A text, written out or in a file, and no messages."""
    specs = fine()
    assert specs["bare-text"].text == template("{{ row.q }}", 56, 7)
    assert specs["bare-text"].model == Selector(id="mi-9")
    assert specs["text-file"].text == Template("{{ row.q }}\n", Place("prompts/question.j2"), "prompts/question.j2")
    assert not specs["bare-text"].messages


def test_one_wait_follows_the_other() -> None:
    """Where only one of the two is written, the other gives way instead of contradicting it."""
    specs = fine()
    assert specs["turns"].wait == Wait(259_200, 259_200)
    assert specs["bare-text"].wait == Wait(3_600, 3_600)
    assert specs["text-file"].wait == Wait(86_400, 172_800)


def test_both_waits_have_to_agree(tmp_path: Path) -> None:
    """Giving up before the provider does is refused."""
    root = project(tmp_path, {"specs/a.yaml": spec(more="text: Hello\nwait: {max: 24h, give_up: 23h}\n")})
    assert said(root) == ["specs/a.yaml:7:27: `wait.give_up` is shorter than `wait.max`"]


def test_a_spec_without_the_system_message_of_defaults(tmp_path: Path) -> None:
    """An empty system message is none."""
    runner = RUNNER + "defaults: {prompt: {system: Be brief.}}\n"
    root = project(tmp_path, {"runner.yaml": runner, "specs/a.yaml": spec(more='prompt: {user: Hi, system: ""}\n')})
    (found,) = load(root)[1]
    assert [message.role for message in found.messages] == ["user"]


@pytest.mark.parametrize(
    ("defaults", "more"),
    [
        ("prompt: {user: a}", "messages: [{role: user, content: b}]"),
        ("prompt: {user: a, system: s}", "prompt: {file: rows.csv}"),
        ("messages: [{role: user, content: b}]", "text: Hello"),
        ("text: Hello", "prompt: {user: a}"),
        ("model: {select: {family: x}}", "model: {id: y}\ntext: Hello"),
        ("model: z", "model: {select: {family: x}}\ntext: Hello"),
    ],
)
def test_a_spec_chooses_among_alternatives(tmp_path: Path, defaults: str, more: str) -> None:
    """A key of a spec takes the place of its alternatives under `defaults`."""
    text = spec(more=f"{more}\n").replace("model: mi-9\n", "" if "model" in more else "model: mi-9\n")
    load(project(tmp_path, {"runner.yaml": f"{RUNNER}defaults: {{{defaults}}}\n", "specs/a.yaml": text}))


# Finding documents


def test_specs_come_by_path(tmp_path: Path) -> None:
    """All *.yaml and *.yml at any depth, in the order of their paths; hidden files and others are no specs."""
    files = {f"specs/{name}": spec(f"s{n}") for n, name in enumerate(["b.yaml", "a/z.yml", "a.yaml", "C.YAML"])}
    hidden = {
        f"specs/{name}": "not: a spec" for name in (".x.yaml", ".git/x.yaml", "a/.hidden/x.yaml", "x.yaml~", "x.json")
    }
    _, specs = load(project(tmp_path, files | hidden))
    assert [one.place.file for one in specs] == ["specs/C.YAML", "specs/a.yaml", "specs/a/z.yml", "specs/b.yaml"]


def test_a_project_of_one_folder(tmp_path: Path) -> None:
    """`specs: .` searches the root, where runner.yaml is no spec."""
    _, specs = load(project(tmp_path, {"runner.yaml": f"{RUNNER}specs: .\n", "a.yaml": spec()}))
    assert [one.place.file for one in specs] == ["a.yaml"]


def test_no_specs_yet(tmp_path: Path) -> None:
    """Git keeps no empty folder, so a missing one is one without specs, unless runner.yaml names it."""
    assert load(project(tmp_path, {}))[1] == []
    assert said(project(tmp_path, {"runner.yaml": f"{RUNNER}specs: batches\n"})) == [
        "runner.yaml:3:8: there is no folder `batches`"
    ]


@pytest.mark.parametrize("folder", ["..", "/etc", "../x", ".git", ".runner/specs", "a/../../b"])
def test_the_folder_of_specs_lies_inside(tmp_path: Path, folder: str) -> None:
    """Specs are read from the project only."""
    (problem,) = problems(project(tmp_path, {"runner.yaml": f"{RUNNER}specs: {folder}\n"}))
    assert problem.where == "runner.yaml:3:8"


def test_find_root(tmp_path: Path) -> None:
    """The nearest runner.yaml upwards; without one, an error that says how to begin."""
    project(tmp_path / "outer", {"inner/runner.yaml": RUNNER, "inner/deep/x": ""})
    assert find_root(tmp_path / "outer" / "inner" / "deep") == tmp_path / "outer" / "inner"
    assert find_root(tmp_path / "outer") == tmp_path / "outer"
    with pytest.raises(RunnerError) as caught:
        find_root(tmp_path)
    assert caught.value.commands == ("runner init",)


def test_a_runner_yaml_that_is_not_there(tmp_path: Path) -> None:
    """A project needs one, and a file with nothing in it, or with two documents, is none."""
    assert said(tmp_path) == ["runner.yaml:1:1: `runner.yaml` cannot be read: No such file or directory"]
    assert said(project(tmp_path, {"runner.yaml": "# nothing\n"})) == ["runner.yaml:1:1: the file is empty"]
    assert said(project(tmp_path, {"runner.yaml": f"{RUNNER}---\n{RUNNER}"})) == [
        "runner.yaml:4:1: runner.yaml holds one document"
    ]


# Files that mean harm


def test_links_stay_inside(tmp_path: Path) -> None:
    """A linked spec or file is read where its target lies inside the project, and refused where it does not."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x.yaml").write_text(spec("stolen"))
    (outside / "rows.csv").write_text(ROWS)
    root = project(
        tmp_path / "p",
        {
            "shared/b.yaml": spec("b", input="inside.csv"),
            "specs/a.yaml": spec("a", input="outside.csv")
            + "---\n"
            + spec("c", "prompt: {file: outside.csv}\n", input="folder/rows.csv")
            + "---\n"
            + spec("d", "text: Hello\nresponse: {schema: outside.csv}\noutput: {path: folder/x.csv}\n")
            + "---\n"
            + spec("e", "text: Hello\noutput: {path: outside.csv}\n")
            + "---\n"
            + spec("f", "text: Hello\noutput: {path: to-spec.csv}\n"),
        },
    )
    (root / "inside.csv").symlink_to("rows.csv")
    (root / "outside.csv").symlink_to(outside / "rows.csv")
    (root / "to-spec.csv").symlink_to("specs/a.yaml")
    (root / "folder").symlink_to(outside)
    (root / "specs" / "b.yaml").symlink_to("../shared/b.yaml")
    (root / "specs" / "x.yaml").symlink_to(outside / "x.yaml")
    (root / "specs" / "more").symlink_to(outside)
    (root / "specs" / "loop.yaml").symlink_to("loop.yaml")
    assert said(root) == [
        "specs/a.yaml:5:15: `outside.csv` leads out of the project",
        "specs/a.yaml:12:15: `folder/rows.csv` leads out of the project",
        "specs/a.yaml:13:16: `outside.csv` leads out of the project",
        "specs/a.yaml:21:20: `outside.csv` leads out of the project",
        "specs/a.yaml:22:16: the output `folder/x.csv` leads out of the project",
        "specs/a.yaml:30:16: the output `outside.csv` leads out of the project",
        "specs/a.yaml:38:16: the output `to-spec.csv` would overwrite what the project is made of",
        "specs/loop.yaml:1:1: `specs/loop.yaml` cannot be read: Too many levels of symbolic links",
        "specs/more:1:1: a link to a folder is not followed",
        "specs/x.yaml:1:1: the file leads out of the project",
    ]


def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    """A named pipe in the place of a file is a problem, not a pause."""
    root = project(tmp_path, {"specs/a.yaml": spec(more="prompt: {file: pipe.j2}\n", input="pipe.csv")})
    for name in ("pipe.csv", "pipe.j2", "specs/pipe.yaml"):
        os.mkfifo(root / name)
    assert said(root) == [
        "specs/a.yaml:5:15: there is no file `pipe.csv`",
        "specs/a.yaml:6:16: there is no file `pipe.j2`",
        "specs/pipe.yaml:1:1: `specs/pipe.yaml` is not a regular file",
    ]


def test_names_that_are_no_text(tmp_path: Path) -> None:
    """A file name in another encoding, or with a line break, is told in characters that every terminal shows."""
    root = project(tmp_path, {"specs/a\nb.yaml": spec()})
    (tmp_path / "specs" / os.fsdecode(b"caf\xe9.yaml")).write_text(spec())
    found = problems(root)
    assert [problem.message for problem in found] == ["the file holds a character that no path should"] * 2
    for problem in found:
        problem.file.encode("utf-8")


@pytest.mark.parametrize("size", [10_000, 1_000_000])
def test_long_paths(tmp_path: Path, size: int) -> None:
    """No path is so long that it ends in anything but a problem."""
    more = f"prompt: {{file: {'a/' * size}x}}\nresponse: {{schema: {'b' * 300}}}\n"
    assert len(problems(project(tmp_path, {"specs/a.yaml": spec(more=more)}))) in (1, 2)


def test_a_template_of_a_path_is_not_a_program(tmp_path: Path) -> None:
    """What is long, deep, or looks beyond `name` and `vars` is a problem, and soon."""
    sources = [
        "{{ " + "(" * 400 + "name" + ")" * 400 + " }}",
        "{{ name" + " | upper" * 100 + " }}",
        "{{ vars" + ".a" * 450 + " }}",
        "{{ vars.long }}" * 60,
        "{{ name.__class__ }}",
        "{{ vars['__class__'] }}",
        "{{ name[0] }}",
        "{{ self }}",
        "{{ range(9) }}",
        "{{ name ** 99 }}",
        "{% set x = 1 %}",
        "{{ vars | attr('x') }}",
        "{{ lipsum }}",
        "{{ 1 if name }}",
    ]
    text = "---\n".join(
        spec(f"s{n}", f'text: Hello\nvars: {{long: {"x" * 10_000}}}\noutput: {{path: "{source}.csv"}}\n')
        for n, source in enumerate(sources)
    )
    found = problems(project(tmp_path, {"specs/a.yaml": text}))
    assert [problem.line for problem in found] == [8 + 9 * n for n in range(len(sources))]


def test_a_path_that_looks_like_a_template_of_one(tmp_path: Path) -> None:
    """Filters that cannot lengthen a path are there, and so is a default."""
    path = "o/{{ vars.a | trim | lower ~ '-' }}{{ vars.b | default(1) }}.csv"
    more = f"text: Hello\nvars: {{a: ' X '}}\noutput: {{path: \"{path}\"}}\n"
    (found,) = load(project(tmp_path, {"specs/a.yaml": spec(more=more)}))[1]
    assert found.output.path == "o/x-1.csv"


def test_the_state_may_lie_elsewhere(tmp_path: Path) -> None:
    """An absolute folder outside the project protects nothing inside it, and one inside does."""
    (tmp_path / "s").mkdir()
    text = spec(more="text: Hello\noutput: {path: state/x.csv}\n")
    away = project(tmp_path / "a", {"runner.yaml": f"{RUNNER}state: {tmp_path}/s\n", "specs/a.yaml": text})
    assert said(away) == []
    inside = project(tmp_path / "b", {"runner.yaml": f"{RUNNER}state: {tmp_path}/b/state\n", "specs/a.yaml": text})
    assert said(inside) == ["specs/a.yaml:7:16: the output `state/x.csv` belongs to runner's state"]


@pytest.mark.parametrize("path", ["a\\0b", "~nobody-of-that-name/key", "a\\nb"])
def test_runner_yaml_may_name_what_is_no_file(tmp_path: Path, path: str) -> None:
    """Neither a null byte nor a home that is not there ends in anything but a problem, if it is one."""
    runner = f'version: 1\nstate: "{path}"\nproviders: {{demo: {{type: simulator, api_key: {{file: "{path}"}}}}}}\n'
    found = said(project(tmp_path, {"runner.yaml": runner, "specs/a.yaml": spec()}))
    assert [line.split(": ")[0] for line in found] == ([] if "~" in path else ["runner.yaml:2:8", "runner.yaml:3:46"])


def test_problems_are_bounded(tmp_path: Path) -> None:
    """A file of thousands of broken documents is told of some thousands of problems, and that there are more."""
    found = problems(project(tmp_path, {"specs/a.yaml": "--- {a: 1}\n" * 20_000}))
    assert loading.MAX_PROBLEMS < len(found) < loading.MAX_PROBLEMS + 20
    assert any(problem.message.startswith("too many problems") for problem in found)


@contextmanager
def unprivileged() -> Iterator[None]:
    """Root may read everything: for a while be somebody who may not."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_unreadable_files() -> None:
    """What may not be read is a problem at its place."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        root = project(
            Path(folder), {"specs/a.yaml": spec(more="prompt: {file: x.j2}\n"), "x.j2": "", "specs/b.yaml": spec("b")}
        )
        for name in ("x.j2", "specs/b.yaml"):
            (root / name).chmod(0)
        with unprivileged():
            found = said(root)
    assert found == [
        "specs/a.yaml:6:16: `x.j2` cannot be read: Permission denied",
        "specs/b.yaml:1:1: `specs/b.yaml` cannot be read: Permission denied",
    ]
