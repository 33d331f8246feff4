"""Plans as values: repeatable, saved and read back, and, once carried out, followed by an empty one.

A plan is carried out here without anybody who does it: the events that an apply would write are foretold from the plan,
with answers, failures and losses drawn at random, and folded in.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from builders import a_submit, identity
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.connect import connect
from runner.covering import coverage_events
from runner.edge.world import World
from runner.known import OUTCOME, identities
from runner.load import load as load_project
from runner.plan import Action, Change, Cost, Facts, Plan, make_plan
from runner.provider import Phase, Progress
from runner.refresh import fold_all
from runner.resolve import Options, Resolved, at_positions, resolve
from runner.result import Counts
from runner.shard import cut
from runner.spec import Spec
from runner.state import (
    Begun,
    Checked,
    Collected,
    Event,
    Publication,
    Published,
    Staged,
    State,
    Submitted,
    dump,
    load,
)
from runner.task import ANSWERED, FINAL, LOST, RETRYABLE, Claim, Task, task_id
from runner.workflow import Approval, Request, load_plan, save_plan

QUESTIONS = [f"question {number}?" for number in range(7)]
NAMES = ("alpha", "beta", "gamma")
PROVIDER = {
    "type": "openai",
    "base_url": "http://127.0.0.1:9",
    "api_key": {"env": "NO_KEY"},
    "models": [{"id": "m", "price": {"input": 0.1, "output": 0.2, "currency": "CNY"}}],
    "max_requests": 2,
}
"""Nobody listens there: planning offline asks nobody."""
ATTEMPTS = 2
ASKED_AGAIN = (RETRYABLE, LOST)
LETTERS = st.sampled_from([ANSWERED, ANSWERED, FINAL, *ASKED_AGAIN])

projects = st.dictionaries(
    st.sampled_from(NAMES), st.lists(st.sampled_from(QUESTIONS), min_size=1, max_size=7), min_size=1
)
"""By spec, the questions of its rows: repeated within a spec, and shared by several."""


@dataclass
class Ideal:
    """A project in which everything that is planned happens.  ``came_to``: each request's outcomes, first to last."""

    world: World
    specs: Sequence[Spec]
    data: st.DataObject
    state: State = field(default_factory=lambda: State("L", 1, "w"))
    came_to: dict[bytes, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._times = itertools.count(1_000)

    def plan(self, state: State | None = None) -> tuple[Plan, dict[str, Resolved]]:
        state = state or self.state
        resolved, errors = resolve(self.world, self.specs, state, Options(offline=True))
        assert errors == []
        demands = [one.demand for one in resolved]
        return make_plan(demands, state, Facts(), 2_000.0), {one.batch.spec.name: one for one in resolved}

    def carry_out(self, plan: Plan, resolved: dict[str, Resolved]) -> None:
        """In the order of the plan, as far as a single look goes: publishing what came in is the next plan's affair."""
        made: dict[str, list[str]] = {name: [] for name in resolved}
        for change in plan.changes:
            events = [*self._foretold(change, resolved[change.spec])]
            made[change.spec] += [event.task.id for event in events if isinstance(event, Begun)]
            self.state = fold_all(self.state, events)
        for name, one in resolved.items():
            if one.complete and not one.borrows and self.data.draw(st.booleans(), "covered"):
                self.state = fold_all(self.state, coverage_events(self.world, self.state, one, set(made[name])))

    def _foretold(self, change: Change, one: Resolved) -> Iterator[Event]:
        match change.action:
            case Action.SUBMIT:
                yield from self._submitted(one)
            case Action.WAIT:
                assert change.task is not None
                yield Checked(change.task, Progress(Phase.SUCCEEDED, "completed"), self._now())
            case Action.COLLECT:
                assert change.task is not None
                yield self._collected(self.state.tasks[change.task])
            case Action.PUBLISH if one.demand.publish_key:
                yield from self._published(one)
            case _:
                raise AssertionError(change)

    def _submitted(self, one: Resolved) -> Iterator[Event]:
        assert one.ledger is not None
        spec, limits = one.batch.spec, self.world.providers["it"].traits.shard
        wanted = [(request, size) for request, size, _ in at_positions(one.ledger, one.todo)]
        for shard in cut(wanted, limits):
            attempt = next(n for n in itertools.count(1) if task_id(shard.digest, n) not in self.state.tasks)
            task = Task(
                task_id(shard.digest, attempt),
                spec.name,
                spec.provider,
                one.batch.model or "",
                self.world.store.put(shard.requests),
                shard.count,
                spec.wait.max,
                spec.wait.give_up,
                self._now(),
                attempt=attempt,
                claim=Claim("us", 9_999.0),
            )
            yield Begun(task)
            yield Staged(task.id, "us", self._now(), "")
            yield Submitted(task.id, f"r-{task.id}", self._now())
            for request in shard:
                self.came_to.setdefault(request, [])

    def _collected(self, task: Task) -> Event:
        letters = self.data.draw(st.lists(LETTERS, min_size=task.requests, max_size=task.requests), "outcomes")
        for request, letter in zip(identities(self.world.store.get(task.shard)), letters, strict=True):
            self.came_to[request].append(letter)
        outcomes = self.world.store.put(b"".join(OUTCOME.pack(letter, 0, 0) for letter in letters))
        times = Counter(letters)
        counts = (times[ANSWERED], times[FINAL] + times[RETRYABLE], times[LOST])
        return Collected(task.id, self._now(), "", outcomes, counts, times[RETRYABLE] + times[LOST], (0, 0))

    def _published(self, one: Resolved) -> Iterator[Event]:
        path = self.world.root / one.demand.output
        path.parent.mkdir(exist_ok=True)
        path.touch()
        yield Published(
            one.batch.spec.name, Publication(one.demand.publish_key, one.demand.output, "", Counts(), self._now())
        )

    def _now(self) -> float:
        return float(next(self._times))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("convergence")


@pytest.fixture(scope="module")
def numbers() -> Iterator[int]:
    return itertools.count()


def write(root: Path, asked: dict[str, list[str]]) -> None:
    (root / "specs").mkdir(parents=True)
    (root / "runner.yaml").write_text(json.dumps({"version": 1, "providers": {"it": PROVIDER}}))
    for name, questions in asked.items():
        spec = {
            "version": 1,
            "name": name,
            "provider": "it",
            "model": "m",
            "input": {"path": f"{name}.jsonl"},
            "prompt": {"user": "{{ row.q }}"},
            "parameters": {"max_tokens": 16},
            "retry": {"attempts": ATTEMPTS},
        }
        (root / f"specs/{name}.yaml").write_text(json.dumps(spec))
        (root / f"{name}.jsonl").write_text("".join(f"{json.dumps({'q': question})}\n" for question in questions))


@settings(max_examples=40)
@given(asked=projects, data=st.data())
def test_a_plan_that_was_carried_out_is_followed_by_an_empty_one(
    root: Path, numbers: Iterator[int], asked: dict[str, list[str]], data: st.DataObject
) -> None:
    """Whatever the answers: nothing answered, refused for good or under way is asked, nothing else is left out, and
    after a few rounds nothing is left to plan.  On the way each plan is repeatable, also from the state read back."""
    folder = root / str(next(numbers))
    write(folder, asked)
    project, specs = load_project(folder)
    with ExitStack() as closing:
        ideal = Ideal(connect(folder, project, closing), specs, data)
        for _ in range(4 * ATTEMPTS + 2):
            plan, resolved = ideal.plan()
            assert ideal.plan()[0] == ideal.plan(load(dump(ideal.state)))[0] == plan
            _asks_what_it_should(ideal, resolved)
            if not plan.changes:
                break
            ideal.carry_out(plan, resolved)
    assert plan.changes == ()
    assert len(ideal.came_to) == len({question for questions in asked.values() for question in questions})
    for letters in ideal.came_to.values():
        assert set(letters[:-1]) <= set(ASKED_AGAIN)
        assert letters[-1] not in ASKED_AGAIN or len(letters) == ATTEMPTS


def _asks_what_it_should(ideal: Ideal, resolved: dict[str, Resolved]) -> None:
    """Each request once among all specs, and only such as have no task, or a last outcome that may be tried again."""
    asked = [
        request
        for one in resolved.values()
        if one.ledger is not None
        for request, _, _ in at_positions(one.ledger, one.todo)
    ]
    under_way = {
        request
        for task in ideal.state.tasks.values()
        if task.on_its_way
        for request in identities(ideal.world.store.get(task.shard))
    }
    assert len(asked) == len(set(asked))
    assert under_way.isdisjoint(asked)
    for request in asked:
        letters = ideal.came_to.get(request, [])
        assert set(letters) <= set(ASKED_AGAIN)
        assert len(letters) < ATTEMPTS


# ---- plan files ------------------------------------------------------------------------------------------------------

WORDS = st.text(max_size=8)
changes = st.builds(
    a_submit,
    WORDS,
    reason=WORDS,
    requests=st.integers(0, 10**6),
    provider=WORDS,
    model=st.none() | WORDS,
    cost=st.none() | st.builds(Cost, st.floats(0, 1e9), WORDS, st.booleans(), st.booleans()),
    identity=st.integers(0, 9).map(lambda number: identity(number).hex()),
)
requests = st.builds(
    Request,
    select=st.lists(WORDS, max_size=3).map(tuple),
    options=st.builds(Options, upgrade=st.booleans()),
)


@given(
    plan=st.builds(Plan, st.lists(changes, max_size=4).map(tuple), st.none() | WORDS, st.integers(0, 10**6)),
    request=requests,
)
def test_a_plan_file_says_what_was_approved(root: Path, plan: Plan, request: Request) -> None:
    """Saved and read: the digest, the state that it was made from, and what was asked for, whatever the names are."""
    path = root / "plan.json"
    save_plan(plan, request, path)
    fresh = replace(request, select=(), options=replace(request.options, upgrade=False))
    approval = Approval(plan.digest, True, plan.lineage, plan.serial, file=str(path))
    assert load_plan(path, fresh, plan.digest) == (approval, request)


@given(plan=st.lists(changes, min_size=1, max_size=4), data=st.data())
def test_a_digest_sees_every_submit(plan: list[Change], data: st.DataObject) -> None:
    """Another number of requests in words alone is the same plan; another request, or one submit less, is not."""
    at = data.draw(st.integers(0, len(plan) - 1))
    whole = Plan(tuple(plan), "L", 1)
    others: list[Any] = [[*plan[:at], *plan[at + 1 :]], [*plan[:at], replace(plan[at], identity="-"), *plan[at + 1 :]]]
    assert [Plan(tuple(other), "L", 1).digest == whole.digest for other in others] == [False, False]
    reworded = [replace(change, reason="-") for change in plan]
    assert Plan(tuple(reworded), "M", 2).digest == whole.digest
