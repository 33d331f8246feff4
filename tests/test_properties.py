"""Whatever is done to a project, in whatever order: a plan is repeatable, rows add up, nothing is paid twice, and in
the end every row has its answer.

A few lives are lived in every run of the tests; for more of them: ``LIVES=300 pytest --timeout 0 -k Life
tests/test_properties.py``.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import helpers
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from test_state import histories

from benchmarks.faults.nursery import KILLED, Ended, Nursery, Order
from benchmarks.faults.places import KEYS, TROUBLES
from benchmarks.faults.schedule import Point, Upset
from benchmarks.faults.timeline import CLOCK, Timeline
from runner.load import load
from runner.simulator.memory import Memory
from runner.simulator.server import Simulator
from runner.state import Abandoned, Collected, Event, Removed, State, Submitted, Unreadable, dump, fold, forbids
from runner.state import load as load_state
from runner.task import BEGUN, COLLECTED, ENDED, OPEN, STAGED

QUESTIONS = [f"question {number}?" for number in range(6)]
NAMES = ("alpha", "beta")
PROMPTS = ("{{ row.q }}", "Again: {{ row.q }}")
UPSETS = (
    *(("rename .runner/state.json", nth, manner) for nth in range(1, 6) for manner in ("before", "after")),
    *(("POST /v1/batches", nth, manner) for nth in (1, 2) for manner in ("before", "after", "lost", "500", "429")),
    *((effect, 1, "after") for effect in ("POST /v1/files", "rename outputs/alpha.jsonl", "GET /v1/files/*/content")),
    *((effect, 2, "full") for effect in ("write .runner/*", "write .runner/blobs/*/*")),
)

rows = st.lists(st.sampled_from(QUESTIONS), min_size=1, max_size=6)
names = st.sampled_from(NAMES)


class Project:
    """A project at OpenAI's wire, a clock that only waiting moves, and a nursery for its commands."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="properties-"))
        self.root = self.folder / "project"
        (self.root / "specs").mkdir(parents=True)
        self.timeline = Timeline(self.folder / CLOCK)
        self.nursery = Nursery(self.folder, KEYS)
        self.simulator = Simulator(self.folder / "simulator", speed=1000, clock=self.timeline.now)
        self.simulator.start()
        it = {"type": "openai", "base_url": self.simulator.url, "api_key": {"env": "FAULTS_KEY"}, "max_requests": 2}
        self._write("runner.yaml", {"version": 1, "defaults": {"provider": "it"}, "providers": {"it": it}})

    def spec(self, name: str, prompt: str) -> None:
        spec = {
            "version": 1,
            "name": name,
            "model": {"select": {"family": "Qwen3", "prefer": "cheapest"}},
            "input": {"path": f"specs/{name}.jsonl"},
            "prompt": {"user": prompt},
            "parameters": {"max_tokens": 16},
        }
        self._write(f"specs/{name}.yaml", spec)

    def rows(self, name: str, questions: list[str]) -> None:
        text = "".join(f"{json.dumps({'q': question})}\n" for question in questions)
        (self.root / f"specs/{name}.jsonl").write_text(text)

    def _write(self, path: str, document: Any) -> None:
        (self.root / path).write_text(json.dumps(document))

    def run(self, *args: str, upset: Upset | None = None) -> Ended:
        (ended,) = self.nursery.run(Order(str(self.root), args, (upset,) if upset else ()))
        assert self.simulator.settle()
        assert ended.code != 70, ended
        assert "Traceback" not in ended.err
        return ended

    def faults(self, *rules: Any) -> None:
        urllib.request.urlopen(f"{self.simulator.url}/simulator/faults", json.dumps(rules).encode()).close()

    def paid(self) -> list[tuple[str, str]]:
        memory = Memory(self.folder / "simulator")
        try:
            return [(entry["custom_id"], entry["digest"]) for entry in memory.requests() if entry["billed"]]
        finally:
            memory.close()

    def state(self) -> State:
        path = self.root / ".runner/state.json"
        return load_state(path.read_bytes()) if path.exists() else State()

    def output(self, name: str) -> list[Any]:
        return [json.loads(line) for line in (self.root / f"outputs/{name}.jsonl").read_text().splitlines()]

    def close(self) -> None:
        self.simulator.stop()
        self.nursery.close()
        shutil.rmtree(self.folder)


COURSE = (BEGUN, STAGED, OPEN, ENDED, COLLECTED)
"""What a task goes through if nothing goes wrong."""
STARTED = {OPEN, ENDED, COLLECTED}


def unsound(state: State) -> Iterator[str]:
    """What cannot be so, whatever has happened."""
    for task in state.tasks.values():
        been = COURSE.index(task.phase) if task.phase in COURSE else 0
        facts = (
            (been < 1 or task.staged_at is not None, "is staged at no time"),
            (been < 2 or bool(task.remote_id and task.started_at is not None), "is open under no id"),
            (been < 3 or bool(task.ending and task.ended_at is not None), "has ended in no way"),
            (been < 4 or bool(task.results and task.outcomes), "is collected without its results"),
            (been < 4 or sum(task.counts) == task.requests, "does not add up"),
            (bool(task.claim) == (task.phase in (BEGUN, STAGED)), "is claimed where there is nothing to claim"),
        )
        yield from (f"{task.id} {what}" for holds, what in facts if not holds)
    for name, batch in state.batches.items():
        if batch.covered and batch.covered.current and not state.tasks.keys() >= set(batch.covered.needs):
            yield f"{name} relies on tasks that are gone"


class Life(RuleBasedStateMachine):
    """Edits, plans, applies, kills, faults, cancels and retries, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.project = Project()
        self.asked: dict[str, list[str]] = {}
        self.prompts: dict[str, str] = {}
        self.may_be_paid: Counter[tuple[str, str]] = Counter()
        """Beyond once: a person asked for it."""

    @initialize(questions=rows)
    def begin(self, questions: list[str]) -> None:
        self.edit_rows("alpha", questions)

    @rule(name=names, questions=rows)
    def edit_rows(self, name: str, questions: list[str]) -> None:
        """Rows appended, removed, repeated or reordered; a spec that is new, or comes back."""
        self.asked[name] = questions
        self.project.rows(name, questions)
        self.edit_prompt(name, self.prompts.get(name, PROMPTS[0]))

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), prompt=st.sampled_from(PROMPTS))
    def change_prompt(self, data: st.DataObject, prompt: str) -> None:
        self.edit_prompt(data.draw(st.sampled_from(sorted(self.asked))), prompt)

    def edit_prompt(self, name: str, prompt: str) -> None:
        self.prompts[name] = prompt
        self.project.spec(name, prompt)

    @precondition(lambda self: len(self.asked) > 1)
    @rule(name=names)
    def remove_spec(self, name: str) -> None:
        del self.asked[name]
        (self.project.root / f"specs/{name}.yaml").unlink()

    @rule()
    def plan_twice(self) -> None:
        """Equal, but for the time that passes: and a plan writes no state."""
        first, second = (self.project.run("plan", "--json") for _ in range(2))
        assert (first.code, second.code) == (0, 0), first
        assert json.loads(first.out)["digest"] == json.loads(second.out)["digest"]
        offline = self.project.run("plan", "--json", "--offline")
        assert json.loads(offline.out)["state"] == json.loads(first.out)["state"]

    @rule(wait=st.booleans())
    def apply(self, wait: bool) -> None:
        """Rows add up, whatever has come of them."""
        ended = self.project.run("apply", "--yes", "--json", *(["--wait"] if wait else []))
        assert ended.code in (0, 7), ended
        for name, questions in self.asked.items():
            counts = json.loads(ended.out)["rows"][name]
            assert counts["total"] == len(questions)
            assert sum(counts[kind] for kind in ("succeeded", "failed", "missing", "pending")) == len(questions)

    @rule(upset=st.sampled_from(UPSETS))
    def apply_disturbed(self, upset: tuple[str, int, str]) -> None:
        effect, nth, manner = upset
        ended = self.project.run("apply", "--yes", "--wait", upset=Upset(Point(effect, nth), manner))
        assert ended.code in (0, 1, 7, KILLED), ended

    @rule(trouble=st.sampled_from(sorted(TROUBLES)))
    def meet_trouble(self, trouble: str) -> None:
        self.project.faults(TROUBLES[trouble])

    @rule(name=names)
    def cancel(self, name: str) -> None:
        assert self.project.run("cancel", name).code in (0, 1)

    @rule(name=names)
    def retry(self, name: str) -> None:
        assert self.project.run("retry", name).code in (0, 1)

    @rule(name=names)
    def retry_all(self, name: str) -> None:
        """What was answered is asked once more, and paid once more: the one way to pay for something again."""
        before = set(self.project.paid())
        if self.project.run("retry", name, "--all").code == 0:
            self.may_be_paid.update(before)

    @invariant()
    def nothing_is_paid_twice(self) -> None:
        beyond = Counter(self.project.paid()) - Counter(dict.fromkeys(self.project.paid(), 1))
        assert beyond <= self.may_be_paid

    @invariant()
    def the_state_is_sound(self) -> None:
        state = self.project.state()
        assert load_state(dump(state)) == state
        assert [*unsound(state)] == []

    @rule(seconds=st.sampled_from([1.0, 100.0, 2_000.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.project.timeline.advance(seconds)

    def teardown(self) -> None:
        """Left alone, it comes to rest; every row has its answer, and no request was paid twice."""
        try:
            if self.asked:
                self._comes_to_rest()
        finally:
            self.project.close()

    def _comes_to_rest(self) -> None:
        self.project.faults()
        for name in self.asked:
            self.project.run("retry", name)
        for _ in range(8):
            self.project.timeline.advance(1_000)
            ended = self.project.run("apply", "--yes", "--wait", "--json")
            assert ended.code in (0, 7), ended
            if not json.loads(ended.out)["changes"]:
                break
        assert (ended.code, json.loads(ended.out)["changes"]) == (0, []), ended
        assert json.loads(self.project.run("plan", "--json").out)["changes"] == []
        for name, questions in self.asked.items():
            wanted = [self.prompts[name].replace("{{ row.q }}", question) for question in questions]
            lines = self.project.output(name)
            assert [line["status"] for line in lines] == ["succeeded"] * len(questions)
            assert [line["text"].partition("to: ")[2] for line in lines] == wanted
        self.nothing_is_paid_twice()


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=int(os.environ.get("LIVES", "6")), stateful_step_count=14, deadline=None)


@settings(max_examples=50)
@given(histories())
def test_every_prefix_of_a_history_is_sound(events: list[Event]) -> None:
    """Not only what comes of a project's life: whatever several runs could write, in whatever order."""
    state = State("L")
    for event in events:
        state = fold(state, worded(event))
        assert [*unsound(state)] == []


@settings(max_examples=50)
@given(events=histories(), data=st.data())
def test_what_is_written_again_after_others_wrote_is_sound(events: list[Event], data: st.DataObject) -> None:
    """A lost reply whose write others have followed cannot be told from a conflict: its event, unless it is overtaken,
    is folded onto what they wrote, and takes back no start."""
    state, written = State("L"), []
    for event in events:
        if not forbids(state, event):
            state = fold(state, worded(event))
            written.append(worded(event))
        again = data.draw(st.sampled_from([None, *written]))
        if again is None or forbids(state, again):
            continue
        started = {id for id, task in state.tasks.items() if task.phase in STARTED}
        state = fold(state, again)
        assert [*unsound(state)] == []
        if not isinstance(again, Removed | Abandoned):
            assert {state.tasks[id].phase for id in started} <= STARTED


def worded(event: Event) -> Event:
    """With a provider that has an id for what it took, and results for what it finished."""
    match event:
        case Submitted(remote_id=""):
            return replace(event, remote_id="r-1")
        case Collected():
            return replace(event, results=event.results or "res", outcomes=event.outcomes or "out")
    return event


# ---- the first documents ---------------------------------------------------------------------------------------------

FIRST = (Path(__file__).parent / "cases/state/first.json").read_bytes()
"""Written by the first version that wrote any: one batch published, another under way."""


def test_a_first_document_is_read() -> None:
    """It does not say how often a request could be asked, so that its batches are looked at anew; and nothing is lost
    when it is written again."""
    state = load_state(FIRST)
    assert {id: task.phase for id, task in state.tasks.items()} == {
        "t-5ad387817004": OPEN,
        "t-78f08bb360b2": COLLECTED,
    }
    assert [batch.covered and batch.covered.attempts for batch in state.batches.values()] == [0, 0]
    assert load_state(dump(state)) == state
    assert [*unsound(state)] == []


def test_a_project_goes_on_from_a_first_document(tmp_path: Path) -> None:
    """What its version had answered is not asked again, whatever `retry.attempts` says now."""
    project = helpers.Project(tmp_path)
    project.spec(rows=3)
    project.finish()
    state = project.state()
    del state["batches"]["job"]["covered"]["attempts"]
    project.write(".runner/state.json", json.dumps(state))
    assert project.plan()["changes"] == []
    project.rows(4)
    project.finish()
    assert project.bill()["requests"] == 4
    assert project.state()["batches"]["job"]["covered"]["attempts"] == 3


@pytest.mark.parametrize("length", range(0, len(FIRST) - 3, 97))
def test_a_document_that_was_cut_off(length: int) -> None:
    """A clear error at any length, and no half of a state."""
    with pytest.raises(Unreadable, match="the state document"):
        load_state(FIRST[:length])


# ---- how a spec is written -------------------------------------------------------------------------------------------

SPEC: dict[str, Any] = {
    "version": 1,
    "name": "job",
    "provider": "demo",
    "model": {"select": {"family": "Qwen3", "context": ">=32k", "prefer": "cheapest"}},
    "input": {"path": "rows.jsonl", "key": "id"},
    "prompt": {"system": "Be kind.", "user": "{{ row.q }} {{ vars.style }}"},
    "vars": {"style": "brief", "tone": "dry"},
    "parameters": {"temperature": 0, "max_tokens": 64},
}
SIZES = (">=32k", ">= 32000", ">=32.0k", ">=0.032M")
DAYS = (("24h", "48h"), ("1d", "2d"), ("1440m", "2880m"), ("86400s", "48h"))
DEFAULTS: dict[str, list[Any]] = {
    "wait": [{"max": one, "give_up": two} for one, two in DAYS],
    "retry": [{"attempts": 3}, {}],
    "samples": [1],
    "on_remove": ["keep"],
    "output": [{"path": "outputs/{{ name }}.jsonl"}, {"path": "outputs/job.jsonl"}],
}
"""What is so where a spec says nothing, in several spellings."""


def shuffled(draw: Callable[[Any], Any], value: Any) -> Any:
    """The same mapping, with its keys in another order at every level."""
    if not isinstance(value, dict):
        return value
    return {key: shuffled(draw, value[key]) for key in draw(st.permutations(list(value)))}


@st.composite
def spellings(draw: Callable[[Any], Any]) -> str:
    """The one spec, written in many ways."""
    said = {key: draw(st.sampled_from(DEFAULTS[key])) for key in draw(st.sets(st.sampled_from(sorted(DEFAULTS))))}
    said["model"] = {"select": {"family": "Qwen3", "context": draw(st.sampled_from(SIZES)), "prefer": "cheapest"}}
    document = shuffled(draw, SPEC | said)
    if draw(st.booleans()):
        text = json.dumps(document, indent=draw(st.sampled_from([None, 2])))
    else:
        text = yaml.safe_dump(document, sort_keys=False, default_flow_style=draw(st.booleans()), width=10_000)
    return text.replace("\n", draw(st.sampled_from(["\n", "\r\n"])))


def read(root: Path, text: str) -> Any:
    (root / "specs/job.yaml").write_bytes(text.encode())
    _, (spec,) = load(root)
    return spec


def told(root: Path, text: str) -> tuple[dict[str, Any], str]:
    """All that it says, without where it says so, and the requests that it makes."""
    spec = read(root, text)
    said = {key: value for key, value in vars(spec).items() if key not in ("place", "places", "messages")}
    return said, helpers.call("-C", str(root), "render", "job").out


@given(text=spellings())
@settings(max_examples=40)
def test_how_a_spec_is_written_makes_no_difference(tmp_path_factory: Any, text: str) -> None:
    """Key order, defaults written out, units, flow or block style, JSON or YAML, either newline: the same spec."""
    root = tmp_path_factory.getbasetemp() / "spellings"
    (root / "specs").mkdir(parents=True, exist_ok=True)
    (root / "runner.yaml").write_text("version: 1\nproviders: {demo: {type: simulator}}\n")
    (root / "rows.jsonl").write_text('{"id": 1, "q": "one?"}\n')
    assert told(root, text) == told(root, yaml.safe_dump(SPEC))
