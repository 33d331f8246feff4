"""`runner init`: every project that it writes runs at once, it writes over nothing, and it tells no secret."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import yaml
from helpers import COMMAND, PATIENCE, Done, call, environment, run

from runner.providers.openai.dialects import DIALECTS
from runner.registry import FAMILIES
from runner.scaffold import name_for, own_data, workflow_text, write_project
from runner.scaffold_choices import CHOICES, offered
from runner.schema import schema_text

ROOT = Path(__file__).parent.parent
SECRET = "sk-a-secret-that-nobody-may-see"


def init(folder: Path, *args: str) -> Done:
    return call("-C", str(folder), "init", *args)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def settings(folder: Path) -> dict[str, object]:
    document: dict[str, object] = yaml.safe_load((folder / "runner.yaml").read_text("utf-8"))
    return document


def runs(folder: Path) -> list[dict[str, object]]:
    """The project's answers, after it was found valid and was applied."""
    done = call("-C", str(folder), "validate")
    assert (done.code, done.out) == (0, "Everything is valid.\n"), done.out
    done = call("-C", str(folder), "apply", "--yes", "--wait")
    assert done.code == 0, done.err
    (output,) = (folder / "outputs").iterdir()
    return [json.loads(line) for line in output.read_text("utf-8").splitlines()]


# ---- what is written -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["simulator", "kimi", "wanqing"])
def test_a_new_project_runs(tmp_path: Path, name: str) -> None:
    """Whatever the real provider is, it stands beside the simulator, with no key set, and the project runs at once."""
    assert init(tmp_path, "--provider", name).code == 0
    assert [line["status"] for line in runs(tmp_path)] == ["succeeded"] * 5
    assert settings(tmp_path)["limits"] == {"requests": 1000}


@pytest.mark.parametrize("name", CHOICES)
def test_the_real_provider_is_one_word_away(tmp_path: Path, name: str) -> None:
    """The project is valid as it is, and with that one word in the place of demo, when every row still makes a body."""
    assert init(tmp_path, "--provider", name).code == 0
    assert settings(tmp_path)["defaults"] == {"provider": "demo"}
    assert list(settings(tmp_path)["providers"]) == ["demo", name]  # type: ignore[call-overload]
    path = tmp_path / "runner.yaml"
    text, count = re.subn("provider: demo", f"provider: {name}", path.read_text("utf-8"))
    assert count == 1
    assert call("-C", str(tmp_path), "validate").code == 0
    path.write_text(text, "utf-8")
    done = call("-C", str(tmp_path), "render", "capitals")
    assert (done.code, len(done.out.splitlines())) == (0, 5), done.err


def test_every_type_and_dialect_can_be_chosen() -> None:
    """A provider that runner speaks to is one that a project can begin with."""
    types = {choice.type for choice in CHOICES.values()}
    assert types == set(FAMILIES) - {"simulator"}
    named = {name for name, choice in CHOICES.items() if choice.type == "openai"}
    assert named == set(DIALECTS) - {"qianfan"}  # a type of its own has that name


def test_schemas_lie_where_the_files_say(tmp_path: Path) -> None:
    """An editor finds each schema offline, by the address in the first line."""
    assert init(tmp_path).code == 0
    for file, kind in (("runner.yaml", "project"), ("specs/capitals.yaml", "batch")):
        first = (tmp_path / file).read_text("utf-8").splitlines()[0]
        place = first.removeprefix("# yaml-language-server: $schema=")
        assert (tmp_path / file).parent.joinpath(place).read_text("utf-8") == schema_text(kind)


def test_names_of_variables_are_written_and_no_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable that is set is the one that is named; its value is in no file and on no line."""
    monkeypatch.setenv("ZHIPUAI_API_KEY", SECRET)
    done = init(tmp_path, "--provider", "zhipu")
    assert "api_key: {env: ZHIPUAI_API_KEY}" in (tmp_path / "runner.yaml").read_text("utf-8")
    assert SECRET not in done.out + done.err
    assert not [name for name, data in files(tmp_path).items() if SECRET.encode() in data]


def test_providers_whose_keys_are_there_come_first() -> None:
    """A pair counts only when both halves are set."""
    names = [choice.name for choice in offered(["GROQ_API_KEY", "QIANFAN_ACCESS_KEY"])]
    assert names[0] == "groq"
    assert offered(["QIANFAN_ACCESS_KEY", "QIANFAN_SECRET_KEY"])[0].name == "qianfan"


def test_a_provider_that_there_is_not(tmp_path: Path) -> None:
    """A typo is an error that knows what was meant, and writes nothing."""
    done = init(tmp_path, "--provider", "antropic")
    assert (done.code, "anthropic" in done.err, files(tmp_path)) == (1, True, {})


# ---- rows of one's own ---------------------------------------------------------------------------------------------

ROWS: Mapping[str, tuple[str, str]] = {
    "questions.jsonl": (
        '{"id": 7, "question": "Why?", "note": "a very long note, longer than the question"}\n',
        "{{ row.question }}",
    ),
    "blanks in names.csv": ("no,Review text\n1,Great\n2,Bad\n", '{{ row["Review text"] }}'),
    "methods.tsv": ("items\tkeys\na long text\tx\n", '{{ row["items"] }}'),
    "braces.csv": ('"{{ 7*7 }}","a""b"\nx,y\n', "{{ row | tojson }}"),
    "names.json": ('[{"überschrift": "ja", "n": 1}]', '{{ row["überschrift"] }}'),
    "gaps.jsonl": ('{"text": "x", "extra": "a much longer text than that"}\n{"text": "y"}\n', "{{ row.text }}"),
    "2024.csv": ("no\nx\n", "{{ row.no }}"),
    "true.csv": ("yes,no\nlonger,b\n", "{{ row.yes }}"),
}


@pytest.mark.parametrize("file", ROWS)
def test_rows_of_ones_own(tmp_path: Path, file: str) -> None:
    """The prompt uses a column that every row has, however it is called, and the project can be applied at once."""
    text, reference = ROWS[file]
    (tmp_path / file).write_text(text, "utf-8")
    assert init(tmp_path, "--data", str(tmp_path / file)).code == 0
    (spec,) = (tmp_path / "specs").glob("*.yaml")
    assert yaml.safe_load(spec.read_text("utf-8"))["prompt"]["user"].strip() == reference
    assert call("-C", str(tmp_path), "validate").out == "Everything is valid.\n"
    assert call("-C", str(tmp_path), "plan", "--json").json["summary"]["requests"] > 0


def test_a_file_elsewhere_is_copied(tmp_path: Path) -> None:
    """Specs read nothing outside the project, so the file comes in; the column that tells rows apart labels them."""
    (tmp_path / "rows.csv").write_text("id,text\na,x\nb,y\n", "utf-8")
    (tmp_path / "project").mkdir()
    assert init(tmp_path / "project", "--data", str(tmp_path / "rows.csv")).code == 0
    assert (tmp_path / "project/specs/data/rows.csv").read_text("utf-8") == "id,text\na,x\nb,y\n"
    assert [line["key"] for line in runs(tmp_path / "project")] == ["a", "b"]


def test_a_column_that_repeats_is_no_key(tmp_path: Path) -> None:
    """An `id` that stands twice labels nothing."""
    (tmp_path / "rows.csv").write_text("id,text\na,x\na,y\n", "utf-8")
    data, _ = own_data(tmp_path / "rows.csv", tmp_path)
    assert (data.key, data.column) == (None, "text")


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("none.csv", None, "there is no file"),
        ("empty.jsonl", "", "no rows"),
        ("x.docx", "x", "no kind"),
        ("bad.jsonl", "{", "bad.jsonl:1"),
    ],
)
def test_rows_that_cannot_be_read(tmp_path: Path, file: str, text: str | None, said: str) -> None:
    """An error with the place in it, before anything is written."""
    if text is not None:
        (tmp_path / file).write_text(text, "utf-8")
    before = files(tmp_path)
    done = init(tmp_path, "--data", str(tmp_path / file))
    assert (done.code, said in done.err, files(tmp_path)) == (1, True, before), done.err


@pytest.mark.parametrize(
    ("text", "name"), [("Review Texts (v2)", "review-texts-v2"), ("中文", "batch"), ("-" * 80 + "x", "x")]
)
def test_a_name_for_a_spec(text: str, name: str) -> None:
    """Any file's name yields one that a spec can have."""
    assert name_for(text) == name


def test_a_name_that_a_spec_cannot_have(tmp_path: Path) -> None:
    """It is refused with one that is near it, and nothing is written."""
    done = init(tmp_path, "--name", "My Spec")
    assert (done.code, "my-spec" in done.err, files(tmp_path)) == (1, True, {})
    assert init(tmp_path, "--name", "mine").code == 0
    assert (tmp_path / "specs/mine.yaml").is_file()


# ---- all or nothing, and over nothing ------------------------------------------------------------------------------


def test_what_is_there_stays(tmp_path: Path) -> None:
    """A README and a .gitignore of the repository's own stay as they are, and that is said."""
    (tmp_path / "README.md").write_text("mine", "utf-8")
    (tmp_path / ".gitignore").write_text("build/\n", "utf-8")
    done = init(tmp_path)
    assert (tmp_path / "README.md").read_text("utf-8") == "mine"
    assert (tmp_path / ".gitignore").read_text("utf-8") == "build/\n"
    assert {"left README.md as it was", "left .gitignore as it was"} < set(done.out.splitlines())


@pytest.mark.parametrize("taken", ["runner.yaml", "specs/capitals.yaml", "schemas/batch.schema.json"])
def test_a_file_in_the_way(tmp_path: Path, taken: str) -> None:
    """One file that is there already, a link that leads nowhere too, and nothing at all is written."""
    (tmp_path / taken).parent.mkdir(exist_ok=True)
    (tmp_path / taken).symlink_to("nowhere") if taken.startswith("specs") else (tmp_path / taken).write_text("x")
    before = sorted(tmp_path.rglob("*"))
    done = init(tmp_path)
    assert (done.code, sorted(tmp_path.rglob("*"))) == (1, before)
    assert "there already" in done.err


def test_an_error_half_way_leaves_nothing(tmp_path: Path) -> None:
    """A file that cannot be written takes those before it along, and the folders that were made for them."""
    mine = {"a/b.txt": "x", "c.txt": "y", "a/b.txt/d": "a file cannot hold one"}
    with pytest.raises(OSError, match=r"b\.txt"):
        list(write_project(tmp_path, mine))
    assert list(tmp_path.iterdir()) == []


def test_not_among_the_specs_of_another(tmp_path: Path) -> None:
    """A project in another's folder of specs would break that one."""
    assert init(tmp_path).code == 0
    done = call("-C", str(tmp_path), "init", "specs/sub")
    assert (done.code, "lies among the specs" in done.err) == (1, True)
    assert call("-C", str(tmp_path), "init", "other").code == 0
    assert call("-C", str(tmp_path), "validate").code == 0


# ---- workflows -----------------------------------------------------------------------------------------------------


def test_workflows_hand_on_the_right_keys(tmp_path: Path) -> None:
    """Both are those of the documents, but that the keys are those of the project's provider."""
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    assert init(tmp_path, "--provider", "qianfan", "--github").code == 0
    folder = tmp_path / ".github/workflows"
    apply = yaml.safe_load((folder / "batch.yml").read_text("utf-8"))["jobs"]["apply"]
    assert list(apply["secrets"]) == ["QIANFAN_ACCESS_KEY", "QIANFAN_SECRET_KEY"]
    comment = ROOT / "docs/gitops/workflows/batch-comment.yml"
    assert (folder / "batch-comment.yml").read_text("utf-8") == comment.read_text("utf-8")
    assert "state: git:batch-state" in (tmp_path / "runner.yaml").read_text("utf-8")


def test_workflows_without_a_provider_hand_on_nothing() -> None:
    """No key of somebody else's provider is left in them."""
    apply = yaml.safe_load(workflow_text("batch.yml", {}))["jobs"]["apply"]
    assert "secrets" not in apply
    assert "WANQING" not in workflow_text("batch.yml", {"api_key": "OPENAI_API_KEY"})


def test_the_state_for_workflows_is_valid_as_it_stands(tmp_path: Path) -> None:
    """The lines that a person takes in before the first push are right when they are."""
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    assert init(tmp_path, "--github").code == 0
    path = tmp_path / "runner.yaml"
    text = re.sub(r"^state: .*\n# The workflows.*\n", "", path.read_text("utf-8"), flags=re.MULTILINE)
    path.write_text(re.sub(r"^# (state|blobs|outputs):", r"\1:", text, flags=re.MULTILINE), "utf-8")
    assert call("-C", str(tmp_path), "validate").out == "Everything is valid.\n"
    assert settings(tmp_path)["blobs"] == {"store": "git"}


def test_workflows_lie_at_the_root_of_a_repository(tmp_path: Path) -> None:
    """Anywhere else GitHub does not see them, so they are not written there."""
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    done = call("-C", str(tmp_path), "init", "below", "--github")
    assert (done.code, (tmp_path / "below").exists()) == (1, False)


# ---- on the screen -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("args", [("with blank",), ("-C", "there")])
def test_the_next_steps_work_as_they_stand(tmp_path: Path, args: Sequence[str]) -> None:
    """Each command that is printed is one that a shell in the same place runs."""
    before = args if args[:1] == ("-C",) else ()
    (tmp_path / "there").mkdir()
    done = run(*before, "init", *(() if before else args), cwd=tmp_path)
    commands = [line.strip() for line in done.out.splitlines() if line.startswith("    ")]
    assert len(commands) == 2
    for command in commands:
        ended = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env=environment(None),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert ended.returncode == 0, (command, ended.stderr)


def on_a_terminal(folder: Path, *args: str, answers: Sequence[str], env: Mapping[str, str]) -> tuple[int, str]:
    """Run a command on a terminal of its own, answering each question as it comes; its code, and all it showed."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *args],
        cwd=folder,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        close_fds=True,
        env=environment({"TERM": "xterm", "PYTHONPATH": str(ROOT), **env}),
    )
    os.close(follower)
    shown, waiting, end = "", list(answers), time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if not select.select([leader], [], [], 0.05)[0]:
            if process.poll() is not None:
                break
            continue
        try:
            shown += os.read(leader, 65536).decode()
        except OSError:  # nobody writes to it any more
            break
        if waiting and re.search(r"(\]|\)): $", shown):
            os.write(leader, f"{waiting.pop(0)}\n".encode())
            shown += "\n"
    os.close(leader)
    return process.wait(PATIENCE), shown


def test_three_questions_on_a_terminal(tmp_path: Path) -> None:
    """A wrong answer is asked again, a provider whose key is set is the default, and the answers are written."""
    (tmp_path / "rows.csv").write_text("id,text\na,x\n", "utf-8")
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    answers = ["grok", "", "nosuch.csv", "rows.csv", "y"]
    code, shown = on_a_terminal(tmp_path, "init", answers=answers, env={"GROQ_API_KEY": SECRET})
    assert code == 0, shown
    assert "GROQ_API_KEY is set" in shown
    assert SECRET not in shown
    assert "did you mean `groq`" in shown
    assert list(settings(tmp_path)["providers"]) == ["demo", "groq"]  # type: ignore[call-overload]
    assert (tmp_path / ".github/workflows/batch.yml").is_file()
    assert (tmp_path / "specs/rows.yaml").is_file()


@pytest.mark.parametrize("args", [("--yes",), ("--provider", "simulator"), ("--no-github",)])
def test_with_any_option_nothing_is_asked(tmp_path: Path, args: Sequence[str]) -> None:
    """On a terminal, too."""
    code, shown = on_a_terminal(tmp_path, "init", *args, answers=[], env={})
    assert (code, "?" in shown) == (0, False), shown


def test_a_second_time_on_a_terminal_asks_nothing(tmp_path: Path) -> None:
    """Three answers for nothing would be three too many."""
    assert init(tmp_path).code == 0
    code, shown = on_a_terminal(tmp_path, "init", answers=[], env={})
    assert (code, "Provider" in shown) == (1, False)
    assert "goes on with:" in shown


# ---- the way in ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "meant"), [(("plna",), "plan"), (("state", "lits"), "state list"), (("doktor",), "doctor")]
)
def test_a_typo_in_a_command(typed: Sequence[str], meant: str) -> None:
    """The command that was meant stands on a line of its own."""
    done = call(*typed)
    assert done.code == 1
    assert [line for line in done.err.splitlines() if line.startswith("    ") and line.endswith(f" {meant}")]


def test_help_groups_commands_by_purpose() -> None:
    """What a stranger needs first comes first, and no command is left out."""
    out = call("--help").out
    assert re.findall(r"^  (\w+)$", out, re.MULTILINE)[:4] == ["Start", "Work", "Look", "Operate"]
    from runner.cli.commands import cli

    assert [name for name in cli.commands if not re.search(rf"^    {name} ", out, re.MULTILINE)] == []
