"""From nothing to outputs as a user goes there: what a command writes, where, and in which shape."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import run as run_process

import pytest
from helpers import Project, Served, call, environment, run, serving, spawn

KEYS = ["key", "sample", "status", "text", "parsed", "finish_reason", "usage", "model", "task", "error"]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("server")) as server:
        yield server


# ---- the first minutes ---------------------------------------------------------------------------------------------


def test_init_makes_a_project_that_runs_at_once(tmp_path: Path) -> None:
    """`runner init DIR`, then plan, apply and status: no key, no network, no edit; a second apply does nothing."""
    assert run("init", "mine", cwd=tmp_path).code == 0
    assert run("-C", "mine", "validate", cwd=tmp_path).code == 0
    assert run("-C", "mine", "plan", cwd=tmp_path).code == 0
    assert run("-C", "mine", "apply", "--yes", "--wait", cwd=tmp_path).code == 0
    (output,) = (tmp_path / "mine/outputs").iterdir()
    assert {json.loads(line)["status"] for line in output.read_text(encoding="utf-8").splitlines()} == {"succeeded"}
    assert "Nothing to do" in run("apply", "--yes", cwd=tmp_path / "mine").out


def test_init_in_the_current_folder_overwrites_nothing(tmp_path: Path) -> None:
    """`runner init` in an empty folder; a second one leaves everything as it is and says so."""
    assert run("init", cwd=tmp_path).code == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert run("init", cwd=tmp_path).code == 1
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_the_project_is_found_from_below(project: Project) -> None:
    """runner.yaml is found by walking up from the current folder or from -C DIR; paths count from the project."""
    project.spec(rows=2)
    assert run("apply", "--yes", "--wait", cwd=project.root / "specs/data").code == 0
    assert project.statuses() == ["succeeded"] * 2
    done = run("-C", str(project.root / "specs"), "plan", "--json", cwd=Path("/"))
    assert done.json["changes"] == []


def test_output_to_a_pipe_has_no_escape_codes(project: Project) -> None:
    """Into a pipe nothing is coloured and no progress line is drawn."""
    project.spec(rows=2)
    for args in (("plan",), ("apply", "--yes", "--wait"), ("status",), ("models",), ("apply",), ("state", "list")):
        done = project.run(*args)
        assert "\x1b" not in done.out + done.err, args


@pytest.mark.parametrize(("args", "env"), [((), {"NO_COLOR": "1"}), (("--no-color",), {}), ((), {"NO_COLOR": None})])
def test_no_color_is_honoured_on_a_terminal(
    project: Project, args: tuple[str, ...], env: dict[str, str | None]
) -> None:
    """On a terminal there is colour, but with NO_COLOR or --no-color there is none."""
    project.spec(rows=2)
    script = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)"
    command = [sys.executable, "-c", script, sys.executable, "-m", "runner", *args, "plan"]
    done = run_process(
        command, cwd=project.root, env=environment({"TERM": "xterm", **env}), stdin=-3, capture_output=True, timeout=60
    )
    assert b"submit" in done.stdout, done
    assert (b"\x1b[" in done.stdout) == (not args and env == {"NO_COLOR": None})


def test_help_loads_no_heavy_library() -> None:
    """`runner --help` imports none of httpx, jsonschema, jinja2 and rich."""
    script = (
        "import sys, runner.cli.main as main; sys.argv = ['runner', '--help']\n"
        "try: main.main()\n"
        "except SystemExit as end: assert not end.code\n"
        "print(*sorted({'httpx', 'jsonschema', 'jinja2', 'rich', 'yaml'} & sys.modules.keys()), file=sys.stderr)"
    )
    done = run_process([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "Commands:" in done.stdout
    assert done.stderr.strip() == ""


def test_every_command_has_help() -> None:
    """`runner COMMAND --help` exits 0 for every command of the contract."""
    commands = [
        *("init", "validate", "render", "models", "plan", "apply", "status", "cancel", "retry", "simulate", "schema"),
        *("state list", "state show", "state adopt", "state abandon", "state rm", "state pull", "state push"),
    ]
    for command in commands:
        done = call(*command.split(), "--help")
        assert (done.code, done.err) == (0, ""), command
        assert done.out.startswith("Usage: "), command


# ---- outputs -------------------------------------------------------------------------------------------------------


def test_an_output_line(project: Project) -> None:
    """One line per row, in input order, with exactly the documented keys in their order."""
    project.spec(rows=["One?", "Two?", "Three?"])
    project.finish()
    lines = project.output()
    assert [list(line) for line in lines] == [KEYS] * 3
    assert [(line["key"], line["sample"], line["status"]) for line in lines] == [
        ("1", 1, "succeeded"),
        ("2", 1, "succeeded"),
        ("3", 1, "succeeded"),
    ]
    for line, word in zip(lines, ("One?", "Two?", "Three?"), strict=True):
        assert word in line["text"]
        assert (line["parsed"], line["error"], line["finish_reason"], line["model"]) == (None, None, "stop", "mi-9")
        assert line["usage"].keys() == {"input_tokens", "output_tokens"}
        assert line["usage"]["input_tokens"] > 0
        assert line["task"] == lines[0]["task"]


def test_a_failed_and_a_missing_line(project: Project) -> None:
    """A row without an answer has a line as well, whose error is {code, message, retryable}."""
    rules = [
        {"on": "task", "do": "fail-rows", "rows": [1], "status_code": 400, "code": "bad", "message": "no such thing"},
        {"on": "task", "do": "missing-rows", "rows": [2]},
    ]
    project.providers["demo"]["faults"] = "faults.json"
    project.write("faults.json", json.dumps(rules))
    project.spec(rows=3, retry={"attempts": 1})
    project.finish(code=7)
    failed, missing, answered = project.output()
    assert [list(line) for line in (failed, missing, answered)] == [KEYS] * 3
    assert failed["status"] == "failed"
    assert failed["error"] == {"code": "bad", "message": "no such thing", "retryable": False}
    assert missing["status"] == "missing"
    assert missing["error"].keys() == {"code", "message", "retryable"}
    assert missing["text"] is None
    assert answered["error"] is None


def test_keys_are_text_and_need_not_be_unique(project: Project) -> None:
    """`key` is the column's value as text, whatever its type; without a column, the row's number from 1."""
    values = [7, "7", "a b", 2.5, True, None, "é"]
    project.spec(
        rows=[{"k": value, "q": f"{at}?"} for at, value in enumerate(values)],
        input={"path": "specs/data/job.jsonl", "key": "k"},
    )
    project.finish()
    assert [line["key"] for line in project.output()] == ["7", "7", "a b", "2.5", "true", "null", "é"]


def test_where_and_limit_choose_rows(project: Project) -> None:
    """`where` keeps rows, `limit` counts those kept; a row's number is its place in the file."""
    rows = [{"q": f"Row {number}?", "split": "test" if number % 2 else "train"} for number in range(1, 10)]
    project.spec(rows=rows, input={"path": "specs/data/job.jsonl", "where": "row.split == 'test'", "limit": 3})
    assert project.requests() == 3
    project.finish()
    assert [line["key"] for line in project.output()] == ["1", "3", "5"]


def test_include_input(project: Project) -> None:
    """`include: [input]` adds the whole row as the last key."""
    project.spec(
        rows=[{"q": "One?", "note": {"a": [1, None]}}], output={"path": "outputs/x.jsonl", "include": ["input"]}
    )
    project.finish()
    (line,) = project.output("x")
    assert list(line) == [*KEYS, "input"]
    assert line["input"] == {"q": "One?", "note": {"a": [1, None]}}


def test_samples_follow_their_row(project: Project) -> None:
    """Samples are lines behind one another, each with an answer of its own request."""
    project.spec(rows=2, samples=3)
    assert project.requests() == 6
    project.finish()
    assert [(line["key"], line["sample"]) for line in project.output()] == [
        (key, sample) for key in ("1", "2") for sample in (1, 2, 3)
    ]
    assert project.bill()["requests"] == 6


def test_an_output_as_csv(project: Project) -> None:
    """A .csv output has the same columns; objects are JSON in their cells."""
    project.spec(rows=['With, comma and "quotes"\nand a line?', "=1+1?"], output={"path": "outputs/job.csv"})
    project.finish()
    with (project.root / "outputs/job.csv").open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        lines = list(reader)
    assert reader.fieldnames is not None
    assert set(KEYS) - {"usage"} <= set(reader.fieldnames)
    assert [line["status"] for line in lines] == ["succeeded"] * 2
    assert "With, comma" in lines[0]["text"]


def test_a_matrix_is_one_batch_per_combination(project: Project) -> None:
    """A matrix makes NAME-VALUE batches with their values in `vars`, each with an output of its own."""
    project.spec(
        rows=2,
        matrix={"style": ["Brief", "very long"], "n": [1, 2]},
        prompt={"user": "{{ row.q }} {{ vars.style }} {{ vars.n }}"},
    )
    names = [f"job-{style}-{n}" for style in ("brief", "very-long") for n in (1, 2)]
    plan = project.plan()
    assert sorted(change["spec"] for change in plan["changes"]) == sorted(names)
    assert plan["summary"]["requests"] == 8
    project.finish()
    for name in names:
        assert project.statuses(name) == ["succeeded"] * 2
    assert project.requests("--select", "job-brief-*") == 0


def test_a_response_schema_is_parsed(project: Project) -> None:
    """With `response.schema` each answer is parsed; one that was cut off, or does not fit, has failed for good."""
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["city", "age"],
        "additionalProperties": False,
    }
    project.write("schemas/city.json", json.dumps(schema))
    project.spec(rows=3, response={"schema": "schemas/city.json"}, parameters={"max_tokens": 200})
    project.spec("cut", rows=2, response={"schema": "schemas/city.json"}, parameters={"max_tokens": 2})
    done = project.finish(code=7)
    for line in project.output():
        assert line["parsed"] == json.loads(line["text"])
        assert line["parsed"].keys() == {"city", "age"}
    assert done["rows"]["cut"]["failed"] == 2
    for line in project.output("cut"):
        assert (line["error"]["code"], line["error"]["retryable"]) == ("truncated", False)
        assert line["text"]
        assert line["parsed"] is None
    assert project.requests() == 0


def test_a_deleted_output_is_published_again_at_no_cost(project: Project) -> None:
    """A deleted output is a publish in the plan, and comes back byte for byte without a request."""
    project.spec(rows=3)
    project.finish()
    output = project.root / "outputs/job.jsonl"
    before = output.read_bytes()
    output.unlink()
    plan = project.plan()
    assert [(change["action"], change["requests"]) for change in plan["changes"]] == [("publish", 0)]
    assert project.call("plan", "--detailed-exitcode").code == 2
    project.apply()
    assert output.read_bytes() == before
    assert project.bill()["requests"] == 3


def test_two_projects_write_the_same_bytes(tmp_path: Path) -> None:
    """The same project run twice, from nothing, writes identical outputs."""
    outputs = []
    for folder in ("a", "b"):
        project = Project(tmp_path / folder)
        project.providers["demo"]["max_requests"] = 3
        project.spec(rows=8, samples=2)
        project.finish()
        outputs.append((project.root / "outputs/job.jsonl").read_bytes())
    assert outputs[0] == outputs[1]


def test_an_apply_without_wait_goes_on_later(project: Project) -> None:
    """Without --wait apply returns while tasks run; the next one collects, publishes, and a third does nothing."""
    project.providers["demo"]["speed"] = 0.4
    project.spec(rows=3)
    first = project.apply()
    assert first["rows"]["job"]["pending"] == 3
    assert not (project.root / "outputs/job.jsonl").exists()
    assert [change["action"] for change in project.plan()["changes"]] == ["wait"]
    project.finish()
    assert project.statuses() == ["succeeded"] * 3
    assert project.apply()["changes"] == []
    assert project.bill()["requests"] == 3


def test_many_tasks_make_one_output(project: Project) -> None:
    """Requests are cut into tasks within the provider's limits, and joined again in input order."""
    project.providers["demo"]["max_requests"] = 4
    project.spec(rows=22)
    (change,) = project.plan()["changes"]
    assert (change["requests"], change["shards"]) == (22, 6)
    project.finish()
    lines = project.output()
    assert [line["key"] for line in lines] == [str(number) for number in range(1, 23)]
    assert len({line["task"] for line in lines}) == 6
    assert sorted(task["requests"] for task in project.bill()["tasks"]) == [2, 4, 4, 4, 4, 4]


def test_the_state_holds_neither_prompts_nor_results(project: Project) -> None:
    """The state document names nothing of what was asked or answered."""
    project.spec(rows=["Is xyzzy a word?"], prompt={"system": "Say plugh.", "user": "{{ row.q }}"})
    project.finish()
    document = (project.root / ".runner/state.json").read_text(encoding="utf-8")
    assert "xyzzy" not in document
    assert "plugh" not in document


# ---- looking before leaping ----------------------------------------------------------------------------------------


def test_render_shows_the_bodies_that_are_sent(project: Project) -> None:
    """render prints one exact body per row, offline; --row and --limit choose."""
    project.spec(
        rows=3, input={"path": "specs/data/job.jsonl", "key": "id"}, prompt={"system": "S", "user": "{{ row.q }}"}
    )
    bodies = [json.loads(line) for line in project.call("render", "job").out.splitlines()]
    assert [body["messages"] for body in bodies] == [
        [{"role": "system", "content": "S"}, {"role": "user", "content": f"job asks {number}?"}] for number in (1, 2, 3)
    ]
    assert len(project.call("render", "job", "--limit", "2").out.splitlines()) == 2
    (only,) = project.call("render", "job", "--row", "2").out.splitlines()
    assert json.loads(only) == bodies[1]
    assert project.call("render", "job", "--row", "9").code == 1


def test_models_says_what_fits_a_spec(project: Project) -> None:
    """models lists the offers; with --spec it says why the others do not fit."""
    project.spec(rows=1)
    plain = project.call("models")
    assert plain.code == 0
    assert "mi-9" in plain.out
    fitting = project.call("models", "--spec", "job")
    assert fitting.code == 0
    assert "lacks: " in fitting.out


def test_a_plan_in_markdown(project: Project) -> None:
    """plan --markdown names each change and the digest."""
    project.spec(rows=2)
    done = project.call("plan", "--markdown")
    assert done.code == 0
    assert "job" in done.out
    assert project.plan()["digest"] in done.out


def test_simulate_is_a_server(server: Served, tmp_path: Path) -> None:
    """`runner simulate` prints where it listens; a project of type wanqing runs on it, cent for cent on its bill."""
    project = Project(tmp_path, {"demo": server.wanqing(max_requests=2)})
    project.spec("onwire", rows=5)
    env = {"TEST_WANQING_KEY": "sk-0123456789abcdef"}
    first = project.run("apply", "--yes", "--json", env=env)
    assert (first.code, first.json["rows"]["onwire"]["pending"]) == (0, 5)
    assert sum("cleartext" in note for note in first.json["notes"]) == 1
    while project.run("apply", "--yes", env=env).code == 0 and not (tmp_path / "outputs/onwire.jsonl").exists():
        pass
    assert project.statuses("onwire") == ["succeeded"] * 5
    assert server.answered("onwire") == 5
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"sk-0123456789abcdef" not in path.read_bytes(), path


def test_simulate_keeps_its_memory(tmp_path: Path) -> None:
    """Killed and started again on the same --data, the server still knows its tasks."""
    data = tmp_path / "data"
    data.mkdir()
    first = spawn("simulate", "--data", str(data), "--speed", "50", cwd=tmp_path)
    assert first.stdout is not None
    url = first.stdout.readline().decode().split()[-1]
    project = Project(tmp_path / "project", {"demo": {"type": "simulator", "base_url": url}})
    project.spec(rows=3)
    project.apply()
    first.kill()
    first.communicate()
    with serving(data) as second:
        project.providers = {"demo": second.provider()}
        project.configure()
        project.finish()
        assert project.statuses() == ["succeeded"] * 3
        assert second.bill()["requests"] == 3
