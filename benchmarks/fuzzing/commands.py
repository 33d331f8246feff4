"""Whole commands over a project of which one file is another: the state, a saved plan, a queue, a file of results.

No command may end as a bug does, none that only looks may change the state, none at all may change one that it cannot
read, and what was paid for stays to be collected: its raw lines are kept, and every row is accounted for.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.faults.places import KEYS, provider
from benchmarks.faults.project import write_project
from benchmarks.fuzzing.mutation import mutated_json, mutated_lines, written
from benchmarks.fuzzing.scripted import Answer, Call, Scripted, passed_on, scripted
from benchmarks.fuzzing.target import LOST, MEMORY, TRACEBACK, Broken, Target
from runner.cli.main import _run
from runner.simulator.server import Simulator
from runner.state import Unreadable, load

BUG = 70
STATE = ".runner/state.json"
ASKED = {"alpha": ("one?", "two?", "three?"), "beta": ("four?",)}
EMBEDDED = {"type": "simulator", "speed": 1000}


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


def call(root: Path, *args: str) -> Done:
    """`runner ARGS` in this process.  Raises Broken for a bug, and for memory that ran out."""
    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["runner", "-C", str(root), *args]
    os.environ["RUNNER_DEBUG"] = "1"
    with redirect_stdout(out), redirect_stderr(err):
        code = _run()
    done = Done(code, out.getvalue(), err.getvalue())
    if code == BUG or "Traceback" in done.out + done.err or "a bug in runner" in done.err:
        raise Broken(TRACEBACK, f"runner {' '.join(args)} ends with {code}\n{done.err[-3_000:]}")
    if "out of memory" in done.err:
        raise Broken(MEMORY, f"runner {' '.join(args)}: {done.err[-1_000:]}")
    return done


class Template:
    """A project that is copied for each input, so that none finds what another left."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.root = folder / "template"
        self._copy = folder / "copy"
        write_project(self.root, settings, ASKED)
        (self.root / "answer.json").write_text('{"type": "object"}')
        spec = self.root / "specs/alpha.yaml"
        spec.write_text(json.dumps({**json.loads(spec.read_text()), "response": {"schema": "answer.json"}}))

    @contextmanager
    def copied(self) -> Iterator[Path]:
        shutil.copytree(self.root, self._copy)
        try:
            yield self._copy
        finally:
            shutil.rmtree(self._copy)


def _state(root: Path) -> bytes | None:
    try:
        return (root / STATE).read_bytes()
    except FileNotFoundError:
        return None


def _is_readable(data: bytes) -> bool:
    try:
        load(data)
    except Unreadable:
        return False
    return True


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Broken(LOST, otherwise)


# ---- the state -----------------------------------------------------------------------------------------------------

LOOKS: Sequence[tuple[str, ...]] = (
    ("status", "--json"),
    ("status",),
    ("plan", "--offline", "--json"),
    ("plan", "--markdown"),
    ("state", "list"),
    ("state", "show"),
)
PHASES: Mapping[str, Mapping[str, Any]] = {
    "t-begun": {"phase": "begun", "claim": {"by": "host/1/x", "until": 1.0}},
    "t-staged": {"phase": "staged", "claim": {"by": "host/1/x", "until": 1.0}, "staged_at": 1.8e9, "marker": "m"},
    "t-open": {"phase": "open", "remote_id": "brt-1", "raw": "running", "progress": [3, 1, 0]},
    "t-ended": {"phase": "ended", "remote_id": "brt-2", "ending": "expired", "ended_at": 1.8e9, "error": "late"},
    "t-void": {"phase": "void", "error": "not found at the provider"},
}
_OF_COLLECTED = ("collected_at", "results", "outcomes", "counts", "again", "tokens")


def _with_every_phase(document: Any) -> Any:
    """A state that also has a task in each other phase, for requests that are those of a real one."""
    real = next(iter(document["tasks"].values()))
    plain = {key: value for key, value in real.items() if key not in (*_OF_COLLECTED, "ending", "ended_at", "raw")}
    others = {id: {**plain, "batch": "gone", **fields} for id, fields in PHASES.items()}
    return {**document, "tasks": {**document["tasks"], **others}}


@contextmanager
def states(folder: Path) -> Iterator[Target]:
    template = Template(folder, EMBEDDED)
    call(template.root, "apply", "--yes", "--wait")
    good = written(_with_every_phase(json.loads(_state(template.root) or b"")))
    load(good)

    def run(data: bytes) -> None:
        with template.copied() as root:
            (root / STATE).write_bytes(data)
            for args in LOOKS:
                call(root, *args)
                _expect(_state(root) == data, f"runner {' '.join(args)} changed the state")
            done = call(root, "apply", "--yes", "--json")
            after = _state(root)
            if _is_readable(data):
                _expect(after is not None and _is_readable(after), "apply left a state that cannot be read")
            else:
                _expect(after == data, "apply changed a state that it cannot read")
                _expect(done.code == 1 and "state document" in done.err, f"apply says {done}")

    yield Target(lambda rng: mutated_json(rng, good), run)


# ---- a saved plan --------------------------------------------------------------------------------------------------


@contextmanager
def plans(folder: Path) -> Iterator[Target]:
    template = Template(folder, EMBEDDED)
    call(template.root, "apply", "--yes", "--wait", "--select", "alpha")
    call(template.root, "plan", "--out", str(template.root / "plan.json"))
    good = (template.root / "plan.json").read_bytes()

    def run(data: bytes) -> None:
        with template.copied() as root:
            before = _state(root)
            (root / "plan.json").write_bytes(data)
            done = call(root, "apply", "--json", str(root / "plan.json"))
            _expect(done.code in (0, 1, 5), f"apply ends with {done}")
            _expect(done.code == 0 or _state(root) == before, "a plan that was turned away changed the state")

    yield Target(lambda rng: mutated_json(rng, good), run)


# ---- the queue of an endpoint without batches ----------------------------------------------------------------------


@contextmanager
def queues(folder: Path) -> Iterator[Target]:
    """A queue of which one file, of its questions or its answers, is another when apply goes on with it."""
    os.environ.update(KEYS)
    with Simulator(folder / "simulator", speed=1000) as simulator:
        template = Template(folder, provider("online", simulator.url))
        call(template.root, "apply", "--yes", "--timeout", "0s", "--wait")
        queues = sorted((template.root / ".runner").rglob("requests.jsonl"))
        if not queues:
            raise RuntimeError("nothing is left in the queues")
        good = {"requests.jsonl": queues[0].read_bytes(), "answers.jsonl": _answers_to(queues[0])}

        def draw(rng: Random) -> bytes:
            name = rng.choice(list(good))
            return name.encode() + b"\n" + mutated_lines(rng, good[name])

        def run(data: bytes) -> None:
            name, _, body = data.partition(b"\n")
            with template.copied() as root:
                (root / queues[0].relative_to(template.root)).with_name(name.decode()).write_bytes(body)
                done = call(root, "apply", "--yes", "--wait", "--json")
                _expect(done.code in (0, 1, 7, 8), f"apply ends with {done}")
                _expect(_is_readable(_state(root) or b""), "the state is lost")
                if done.code in (0, 7):
                    _every_row_is_there(root)

        yield Target(draw, run)


def _answers_to(requests: Path) -> bytes:
    from runner.providers.online.queue import ID, answer_line

    body = b'{"choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}'
    ids = [line[ID] for line in requests.read_bytes().splitlines()]
    return b"".join(answer_line(id, 200, body, ok=True, attempts=1, exhausted=False) for id in ids)


def _every_row_is_there(root: Path) -> None:
    for name, questions in ASKED.items():
        lines = (root / f"outputs/{name}.jsonl").read_bytes().splitlines()
        rows = [json.loads(line, parse_constant=_refuse) for line in lines]
        _expect(len(rows) == len(questions), f"{name} has {len(rows)} rows of {len(questions)}")


def _refuse(constant: str) -> None:
    raise Broken(LOST, f"an output holds {constant}, which is no JSON")


# ---- results -------------------------------------------------------------------------------------------------------

PLACES = ("openai-openai", "anthropic", "wanqing", "qianfan", "openai-together")
Script = Mapping[tuple[str, str], Answer]
"""What a server says by the method and the path, and for a post the action, of a call."""


@dataclass(frozen=True)
class _Collecting:
    """A project whose tasks have ended and are not collected yet, and all that its provider says of them."""

    template: Template
    script: Script
    results: tuple[tuple[str, str], ...]


def _key(call: Call) -> tuple[str, str]:
    return call.method, call.target if "Action=" in call.target else call.path


def _collecting(server: Scripted, folder: Path, place: str) -> _Collecting:
    """Let apply submit, keep that project, and write down how a copy of it is brought to its end."""
    heard: dict[tuple[str, str], Answer] = {}
    with Simulator(folder / "simulator", speed=1000) as simulator:

        def answer(call: Call) -> Answer:
            found = passed_on(call, simulator.url)
            heard[_key(call)] = replace(found, body=server.neutral(found.body))
            return found

        server.answer = answer
        template = Template(folder, {**provider(place, server.url), "max_requests": 50})
        call(template.root, "apply", "--yes")
        heard.clear()
        with template.copied() as root:
            call(root, "apply", "--yes", "--wait")
            _every_row_is_there(root)
    results = tuple(key for key, found in heard.items() if len(found.body.splitlines()) > 1)
    if not results:
        raise RuntimeError(f"{place} was never asked for results: {list(heard)}")
    return _Collecting(template, heard, results)


@contextmanager
def results(folder: Path) -> Iterator[Target]:
    os.environ.update(KEYS)
    known: dict[str, _Collecting] = {}
    with scripted() as server:

        def of(place: str) -> _Collecting:
            if place not in known:
                (folder / place).mkdir()
                known[place] = _collecting(server, folder / place, place)
            return known[place]

        def draw(rng: Random) -> bytes:
            one = of(rng.choice(PLACES))
            place = next(place for place, other in known.items() if other is one)
            good = one.script[rng.choice(one.results)].body
            return place.encode() + b"\n" + mutated_lines(rng, good)

        def run(data: bytes) -> None:
            place, _, body = data.partition(b"\n")
            _collected(server, of(place.decode()), body)

        yield Target(draw, run)


def _collected(server: Scripted, one: _Collecting, body: bytes) -> None:
    """Collect results that hold ``body``, then, of what was not taken, good ones."""
    spoilt = {**one.script, one.results[0]: replace(one.script[one.results[0]], body=body)}
    with one.template.copied() as root:
        for script in (spoilt, one.script):
            server.answer = lambda call, script=script: _said(script, call)  # type: ignore[misc]
            for _ in range(2):
                done = call(root, "apply", "--yes", "--json")
                _expect(done.code in (0, 1, 7), f"apply ends with {done}")
            _account(root)
        document = json.loads(_state(root) or b"")
        _expect(all(task["phase"] != "open" for task in document["tasks"].values()), "a task was forgotten")


def _said(script: Script, call: Call) -> Answer:
    """As the script has it; nothing new is begun."""
    return script.get(_key(call)) or Answer(400, (), b"{}")


def _account(root: Path) -> None:
    """Of each collected task the raw lines are kept, and its requests add up."""
    data = _state(root)
    _expect(data is not None and _is_readable(data), "the state is lost")
    for task in json.loads(data or b"")["tasks"].values():
        if task["phase"] == "collected":
            kept = root / ".runner/blobs" / task["results"][:2] / task["results"]
            _expect(kept.is_file(), "raw results are not kept")
            _expect(sum(task.get("counts", (0, 0, 0))) == task["requests"], f"counts do not add up: {task}")
    for name in ASKED:
        output = root / f"outputs/{name}.jsonl"
        if output.exists():
            for line in output.read_bytes().splitlines():
                json.loads(line, parse_constant=_refuse)
