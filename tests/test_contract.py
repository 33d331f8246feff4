"""One suite for every provider type and dialect: the same trouble on each wire, over HTTP, with the same ending.

What a scenario needs is said beside it, who does not have that in `everywhere.LACKS`.  Each test has a simulator of its
own, so that its bill is of this test alone; nothing may be on it twice.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from everywhere import KEYS, LACKS, NAMES, ONLINE, OPENAI, providers
from helpers import Done, Project, Served

from runner.edge.http import Http
from runner.project import ProviderConfig
from runner.provider import Provider
from runner.providers.openai.dialects import DIALECTS
from runner.registry import build
from runner.simulator.server import Simulator

SPEED = 1000
"""A task takes less than two milliseconds, so that what was begun has ended at the next look."""
ROUNDS = 12
LONG = 3_000.0
"""Seconds after which every absence is believed, and every task below was given up."""

ANSWER = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}

SCENARIOS: dict[str, tuple[str, ...]] = {}
"""Test → what it needs."""


def scenario(*needs: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Run the test at every place that has what it needs."""
    names = [name for name in NAMES if not any(name in LACKS[need] for need in needs)]

    def mark(function: Callable[..., None]) -> Callable[..., None]:
        SCENARIOS[function.__name__] = needs
        return pytest.mark.parametrize("place", names, indirect=True)(function)

    return mark


@dataclass
class Place:
    """A project at one provider, and the server behind it."""

    name: str
    project: Project
    server: Served

    @property
    def online(self) -> bool:
        return self.name in ONLINE

    def faults(self, *rules: Mapping[str, Any]) -> None:
        self.server.faults(*rules)

    def settings(self, **changes: Any) -> None:
        """Change the provider."""
        self.project.providers["it"] |= changes
        self.project.configure()

    def finish(self, code: int = 0) -> dict[str, dict[str, int]]:
        """`apply`, as a schedule would, until nothing is pending.  Returns the counts of rows by spec.

        ``code`` is what the last one ends with: 7, of rows that failed, comes only of one that waits for nothing more.
        """
        waits: list[str] = []
        for _ in range(ROUNDS):
            done = self.project.call("apply", "--yes", "--json", *waits)
            assert done.code in (0, 7), done
            rows: dict[str, dict[str, int]] = done.json["rows"]
            if done.code == code and not any(counts["pending"] for counts in rows.values()):
                return rows
            waits = ["--wait"] if code else []
            time.sleep(0.01)
        raise AssertionError(f"still not at an end after {ROUNDS} rounds: {done}")

    def tasks(self) -> list[dict[str, Any]]:
        return list(self.project.state()["tasks"].values())

    def age(self, seconds: float = LONG) -> None:
        """Let that much time have passed for all that the state tells of."""
        path = self.project.root / ".runner/state.json"
        document = json.loads(path.read_bytes())
        for task in document["tasks"].values():
            for key in ("begun_at", "staged_at", "started_at"):
                if task.get(key):
                    task[key] -= seconds
        path.write_text(json.dumps(document))

    def is_at_rest(self, *, billed: int, requests: int | None = None) -> None:
        """Nothing is left to do, and the bill has ``billed`` answers of ``requests`` accepted, none of them twice."""
        bill = self.server.bill()
        assert bill["duplicates"] == []
        assert bill["billed"] == billed
        assert bill["requests"] == (billed if requests is None else requests)
        assert self.project.plan()["changes"] == []
        assert self.server.bill() == bill


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    with Simulator(tmp_path / "simulator", speed=SPEED) as simulator:
        project = Project(tmp_path / "project", {"it": providers(simulator.url)[request.param]})
        project.configure(defaults={"provider": "it"})
        yield Place(request.param, project, Served(simulator.url))


def on(call: str, do: str, **more: Any) -> dict[str, Any]:
    return {"on": call, "do": do, "times": 1, **more}


def on_task(do: str, **more: Any) -> dict[str, Any]:
    return {"on": "task", "do": do, **more}


def counts(succeeded: int = 0, failed: int = 0, missing: int = 0) -> dict[str, int]:
    total = succeeded + failed + missing
    return {"succeeded": succeeded, "failed": failed, "missing": missing, "pending": 0, "total": total}


def reasons(place: Place, name: str = "job") -> dict[str, tuple[str, str | None, bool | None]]:
    """Of the rows without an answer: status, error code, and whether they may be asked again."""
    lines = [line for line in place.project.output(name) if line["status"] != "succeeded"]
    return {line["key"]: (line["status"], line["error"]["code"], line["error"]["retryable"]) for line in lines}


def answers_itself(place: Place, name: str = "job") -> None:
    """Each row that was answered has the answer to its own question."""
    for line in place.project.output(name):
        if line["status"] == "succeeded":
            assert line["text"].endswith(f"to: {name} asks {line['key']}?"), line


# ---- the table -----------------------------------------------------------------------------------------------------


def test_every_scenario_runs_or_says_why_not() -> None:
    """At each place, each scenario either runs or lacks something by a reason; no word in the table is idle."""
    functions = dict(inspect.getmembers(sys.modules[__name__], inspect.isfunction))
    takers = {name for name, one in functions.items() if "place" in inspect.signature(one).parameters}
    assert {name for name in takers if name.startswith("test_")} == SCENARIOS.keys()
    for test, needs in SCENARIOS.items():
        (runs,) = (set(mark.args[1]) for mark in functions[test].pytestmark if mark.args[0] == "place")
        assert runs, test
        for name in NAMES:
            lacking = [LACKS[need][name] for need in needs if name in LACKS[need]]
            assert bool(lacking) != (name in runs), (test, name)
            assert all(lacking), (test, name)
    assert {need for needs in SCENARIOS.values() for need in needs} == LACKS.keys()
    assert {name for lacking in LACKS.values() for name in lacking} <= set(NAMES)


def test_what_is_lacking_is_lacking(tmp_path: Path) -> None:
    """The table says of tasks, of searches and of cancelling what the providers say of themselves."""
    traits = {name: built(name, tmp_path).traits for name in NAMES}
    assert {name for name in NAMES if traits[name].needs_us} == LACKS["task"].keys() == set(ONLINE)
    assert {name for name in NAMES if not traits[name].finds} | set(ONLINE) == LACKS["find"].keys()
    assert {name for name in NAMES if not traits[name].cancels} == LACKS["cancel"].keys()
    assert {name for name in OPENAI if DIALECTS[name.removeprefix("openai-")].waits_for_file} == has("processing")
    hiding = {name for name in OPENAI if DIALECTS[name.removeprefix("openai-")].hides}
    assert hiding == LACKS["absence"].keys() - LACKS["find"].keys()
    assert has("batch") == set(OPENAI)
    embedding = {f"openai-{name}" for name in DIALECTS if DIALECTS[name].embeds}
    assert has("embed") == {"simulator", "online", "online-stream"} | embedding
    assert has("question") == set(ONLINE)
    assert has("doubt") == LACKS["absence"].keys() - set(ONLINE)


def has(need: str) -> set[str]:
    return set(NAMES) - LACKS[need].keys()


def built(name: str, folder: Path) -> Provider:
    settings = providers("http://127.0.0.1:9")[name]
    config = ProviderConfig(name, settings["type"], {key: settings[key] for key in settings if key != "type"})
    return build(config, http=Http(), secret=lambda _: "", simulator_url=lambda: "", folder=folder)


# ---- all is well ---------------------------------------------------------------------------------------------------


@scenario()
def test_all_is_well(place: Place) -> None:
    """Asked once, answered once, each row its own; a second apply asks nothing; no secret is left anywhere."""
    place.project.spec(rows=7)
    assert place.finish()["job"] == counts(succeeded=7)
    answers_itself(place)
    assert {line["finish_reason"] for line in place.project.output()} == {"stop"}
    place.is_at_rest(billed=7)
    place.finish()
    place.is_at_rest(billed=7)
    assert_no_secret(place.project.root, *KEYS.values())


@scenario()
def test_several_tasks_and_equal_rows(place: Place) -> None:
    """Many small tasks; rows that ask the same are asked once, each with an id of its own (F13, F43)."""
    place.settings(max_requests=3)
    place.project.spec(rows=[{"id": at, "q": f"job asks {at % 7}?"} for at in range(14)])
    assert place.finish()["job"] == counts(succeeded=14)
    texts = [line["text"] for line in place.project.output()]
    assert texts[:7] == texts[7:]
    assert len(set(texts)) == 7
    place.is_at_rest(billed=7)


EMBEDDING = {"prompt": None, "embed": "{{ row.q }}", "model": "mi-8", "parameters": {"dimensions": 3}}
"""What makes a spec one of embeddings."""


@scenario("embed")
def test_embeddings(place: Place) -> None:
    """Vectors, one a row and of the asked length, as numbers however they are spelt on the wire; no text is billed."""
    for spelling in ("float", "base64"):
        parameters = {"dimensions": 3, "encoding_format": spelling}
        place.project.spec(spelling, rows=5, **{**EMBEDDING, "parameters": parameters})
    assert place.finish() == {name: counts(succeeded=5) for name in ("base64", "float")}
    for spelling in ("float", "base64"):
        lines = place.project.output(spelling)
        assert {(line["text"], line["error"]) for line in lines} == {(None, None)}
        assert all(line["usage"]["input_tokens"] > 0 for line in lines)
        assert all(sum(number**2 for number in line["parsed"]) == pytest.approx(1, abs=1e-5) for line in lines)
        assert [len(line["parsed"]) for line in lines] == [3] * 5
        assert len({tuple(line["parsed"]) for line in lines}) == 5
    place.is_at_rest(billed=10)


def test_embeddings_where_none_are_documented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan says so, where the spec asks for them, and what to do; nothing is sent."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    with Simulator(tmp_path / "simulator", speed=SPEED) as simulator:
        project = Project(tmp_path / "project", providers(simulator.url))
        for name in LACKS["embed"]:
            project.configure(defaults={"provider": name})
            project.spec(rows=1, **EMBEDDING)
            done = project.call("plan")
            assert done.code == 1, name
            assert re.search(r"specs/job\.yaml:\d+:1: .* documents no embeddings, so that `embed` cannot be", done.err)
            assert "use a provider of type online" in done.err, name
        assert Served(simulator.url).bill()["requests"] == 0


@scenario()
def test_a_wrong_key(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 4, and the key is in no message, no state and no blob."""
    secrets = {name: f"invalid-{name}-5f0c2a77d1" for name in KEYS}
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    place.project.spec(rows=2)
    for args in (["plan"], ["apply", "--yes"], ["models"], ["status"], ["state", "list"]):
        done = place.project.call(*args)
        assert_says_none_of(done, secrets.values())
        assert done.code == 4 or args != ["apply", "--yes"], done
    assert_no_secret(place.project.root, *secrets.values())
    assert place.server.bill()["requests"] == 0


@scenario("task")
def test_a_key_that_went_bad(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task is on its way and the key is refused: exit 4, the task stays, and is collected with the right key."""
    place.project.spec(rows=2)
    place.project.apply()
    for name in KEYS:
        monkeypatch.setenv(name, f"invalid-{name}-5f0c2a77d1")
    done = place.project.call("apply", "--yes")
    assert done.code == 4, done
    assert_says_none_of(done, [*KEYS.values(), "5f0c2a77d1"])
    assert [task["phase"] for task in place.tasks()] == ["open"]
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    assert place.finish()["job"] == counts(succeeded=2)
    place.is_at_rest(billed=2)
    assert_no_secret(place.project.root, *KEYS.values(), "5f0c2a77d1")


def assert_says_none_of(done: Done, secrets: Any) -> None:
    for secret in secrets:
        assert secret not in done.out + done.err


def assert_no_secret(root: Path, *secrets: str) -> None:
    """In no file below, packed or not."""
    files = [path for path in root.rglob("*") if path.is_file()]
    assert len(files) > 2
    for path in files:
        data = readable(path.read_bytes())
        assert [secret for secret in secrets if secret.encode() in data] == [], path


def readable(data: bytes) -> bytes:
    """A blob may be packed."""
    import gzip
    import zlib

    for unpack in (gzip.decompress, zlib.decompress):
        try:
            return unpack(data)
        except (OSError, zlib.error, EOFError):
            continue
    return data


# ---- the start -----------------------------------------------------------------------------------------------------

LOST = ("500-after", "lost-reply", "cut", "garbage")
"""How an answer to a start gets lost; the start did happen."""


@scenario("task", "find")
def test_a_lost_answer_is_settled(place: Place) -> None:
    """Each answer to a start is lost in another way: each start is found by itself, and none is made or paid twice
    (F25, F26)."""
    for size, do in enumerate(LOST, start=1):
        place.project.spec(do, rows=size)
    for do in LOST:  # one at a time, so that each is lost in its own way
        place.faults(on("create", do))
        done = place.project.apply("--select", do)
        assert [change["outcome"] for change in done["changes"]] == ["unsure"], done
    assert len(place.server.bill()["tasks"]) == 4
    assert place.project.requests() == 0
    rows = place.finish()
    assert rows == {do: counts(succeeded=size) for size, do in enumerate(LOST, start=1)}
    place.is_at_rest(billed=10)


@scenario("task", "find")
def test_a_list_that_lags_or_fails(place: Place) -> None:
    """The list does not show the task yet, then cannot be read: it is not sent again, and found later (F28)."""
    place.project.spec(rows=3)
    place.faults(on("create", "lost-reply"), on("list", "lag", seconds=3600, times=None))
    place.project.apply()
    assert ("believed in" in settling(place)) == (place.name not in LACKS["absence"])
    place.faults(on("list", "400", times=None))
    settling(place)
    assert [task["phase"] for task in place.tasks()] == ["staged"]
    place.faults()
    assert place.finish()["job"] == counts(succeeded=3)
    assert len(place.server.bill()["tasks"]) == 1
    place.is_at_rest(billed=3)


def settling(place: Place) -> str:
    """One more apply, which sends nothing.  Returns what it said of the interrupted starts."""
    done = place.project.apply()
    assert len(place.server.bill()["tasks"]) <= 1
    (reason,) = [change["reason"] for change in done["changes"] if change["action"] == "settle"]
    return str(reason)


@scenario("task", "absence")
def test_a_start_that_did_not_happen(place: Place) -> None:
    """Its failure proves nothing; that it is not listed is believed after the grace period, not before (F25)."""
    place.project.spec(rows=3)
    place.faults(on("create", "500"))
    place.project.apply()
    assert "believed in" in settling(place)
    assert place.server.bill()["tasks"] == []
    place.age()
    assert place.finish()["job"] == counts(succeeded=3)
    assert len(place.server.bill()["tasks"]) == 1
    place.is_at_rest(billed=3)


@scenario("doubt")
def test_where_absence_proves_nothing(place: Place) -> None:
    """However old it is, a person decides; `state abandon` lets it be sent (F25)."""
    place.project.spec(rows=3)
    place.faults(on("create", "500"))
    place.project.apply()
    place.age()
    done = place.project.apply("--wait", code=7)
    assert [one["spec"] for one in done["unresolved"]] == ["job"]
    assert place.server.bill()["tasks"] == []
    (task,) = place.project.state()["tasks"]
    assert place.project.call("state", "abandon", task).code == 0
    assert place.finish()["job"] == counts(succeeded=3)
    place.is_at_rest(billed=3)


@scenario("task")
def test_a_busy_start(place: Place) -> None:
    """429 to the creation: nothing was made, the state stays whole, the next apply sends it (F18)."""
    place.project.spec(rows=3)
    place.faults(on("create", "429", retry_after=1))
    done = place.project.apply()
    assert [change["outcome"] for change in done["changes"]] == ["busy"]
    assert place.server.bill()["requests"] == 0
    assert place.project.requests() == 3
    assert place.finish()["job"] == counts(succeeded=3)
    place.is_at_rest(billed=3)


@scenario("task")
def test_a_refused_start(place: Place) -> None:
    """400 to the creation is a clear no: exit 1 with its words, nothing is remembered, nothing retried (F10, F60)."""
    place.project.spec(rows=3)
    place.faults(on("create", "400", message="the queue is closed on Sundays", times=None))
    done = place.project.call("apply", "--yes")
    assert done.code == 1, done
    assert "the queue is closed on Sundays" in done.err
    assert place.server.bill()["requests"] == 0
    assert place.project.requests() == 3
    place.faults()
    assert place.finish()["job"] == counts(succeeded=3)
    place.is_at_rest(billed=3)


@scenario("task", "rejection")
def test_a_task_that_is_found_bad_later(place: Place) -> None:
    """Taken, and failed as a whole: each row says why; asked again within its attempts, and paid once (F08, F60)."""
    place.project.spec(rows=3)
    place.faults(on_task("fail", message="the cluster is down", times=1))
    assert place.finish(code=7)["job"] == counts(missing=3)
    assert all("the cluster is down" in line["error"]["message"] for line in place.project.output())
    assert place.finish()["job"] == counts(succeeded=3)
    place.is_at_rest(billed=3, requests=6)


@scenario("batch")
def test_no_room_in_the_queue(place: Place) -> None:
    """Too many tokens wait: the task was turned away, not failed, and its requests are sent again (F16)."""
    place.project.spec(rows=3, retry={"attempts": 1})
    place.faults(on_task("token-limit", times=2))
    assert place.finish()["job"] == counts(succeeded=3)
    assert [task["billed"] for task in place.server.bill()["tasks"]] == [0, 0, 3]
    place.is_at_rest(billed=3, requests=9)


@scenario("processing")
def test_a_file_that_is_not_ready(place: Place) -> None:
    """A file just uploaded is not processed yet: its status is asked before the task is made (F51)."""
    place.project.spec(rows=2)
    place.faults(on("upload", "slow-file", seconds=0.3))
    assert place.finish()["job"] == counts(succeeded=2)
    place.is_at_rest(billed=2)


@scenario("task")
def test_free_calls_are_repeated(place: Place) -> None:
    """An upload, or the list of models, that fails for a moment costs patience, and nothing else (F49)."""
    failing = "models" if place.name == "anthropic" else "upload"
    place.faults(on(failing, "500"))
    place.project.spec(rows=3)
    assert place.finish()["job"] == counts(succeeded=3)
    place.is_at_rest(billed=3)


# ---- on its way ----------------------------------------------------------------------------------------------------


@scenario("task")
def test_answers_about_a_task_that_say_nothing(place: Place) -> None:
    """A look is answered with a page of HTML, then with a status that nobody knows: the task goes on, and is
    collected once its end is told (F29, F36)."""
    place.project.spec(rows=3)
    place.project.apply()
    for do in ("garbage", "unknown-word"):
        place.faults(on("detail", do), on("detail", "unknown-word", times=None))
        assert place.project.apply()["rows"]["job"]["pending"] == 3
        assert [task["phase"] for task in place.tasks()] == ["open"]
    place.faults()
    assert place.finish()["job"] == counts(succeeded=3)
    place.is_at_rest(billed=3)


@scenario("task")
def test_with_another_accounts_key(place: Place) -> None:
    """The provider knows no such task, as with another key: a warning, the task stays, and later is collected (F27)."""
    place.project.spec(rows=3)
    place.project.apply()
    place.faults(on("detail", "404", times=None))
    for _ in range(2):
        done = place.project.call("apply", "--yes", "--json")
        assert done.code in (0, 1), done
        told = " ".join(done.json["warnings"])
        assert "the key may be of another" in told or "only with a key of" in told
        assert [task["phase"] for task in place.tasks()] == ["open"]
    place.faults()
    assert place.finish()["job"] == counts(succeeded=3)
    place.is_at_rest(billed=3)


@scenario("task", "cancel")
def test_cancelled_half_way(place: Place) -> None:
    """What was answered by then is collected, as it was paid; the rest is missing until `retry` (F21, F22, F24)."""
    place.project.spec(rows=8)
    place.faults(on_task("never-end", times=1))
    place.project.apply()
    assert place.project.call("cancel", "job").code == 0
    rows = place.finish(code=7)["job"]
    assert (rows["succeeded"], rows["failed"] + rows["missing"]) == (4, 4)
    answers_itself(place)
    assert place.project.requests() == 0
    place.is_at_rest(billed=4, requests=8)
    assert place.project.call("retry", "job").code == 0
    assert place.finish()["job"] == counts(succeeded=8)
    place.is_at_rest(billed=8, requests=12)
    assert place.project.call("cancel", "job").code == 0  # there is nothing left to cancel (F17)


@scenario("task")
def test_a_task_without_end(place: Place) -> None:
    """Given up by our own clock, cancelled where that can be; rows without an answer are missing (F33, F40)."""
    place.project.spec(rows=8, wait={"max": "1m", "give_up": "2m"})
    place.faults(on_task("never-end", times=1))
    place.project.apply()
    assert place.project.apply()["rows"]["job"]["pending"] == 8
    place.age()
    answered = 0 if place.name in LACKS["cancel"] else 4
    rows = place.finish(code=7)["job"]
    assert (rows["succeeded"], rows["failed"] + rows["missing"]) == (answered, 8 - answered)
    answers_itself(place)


@scenario("task")
def test_an_end_that_is_not_recognised(place: Place) -> None:
    """It ended with a word that nobody knows: given up by our own clock, and a late answer counts (F33, F39)."""
    place.project.spec(rows=3, wait={"max": "1m", "give_up": "2m"})
    place.project.apply()
    place.faults(on("detail", "unknown-word", times=None))
    place.age()
    assert place.finish(code=7)["job"] == counts(missing=3)
    place.faults()
    assert place.finish()["job"] == counts(succeeded=3)
    place.is_at_rest(billed=3)


# ---- results -------------------------------------------------------------------------------------------------------


@scenario("task")
def test_expired_with_answers(place: Place) -> None:
    """It expired, and has answers that were paid: they are kept, and the rest is asked again, no more (F01)."""
    place.project.spec(rows=10)
    place.faults(on_task("expire", rows=[2, 3, 5, 7], times=1))
    rows = place.finish(code=7)["job"]
    assert (rows["succeeded"], rows["failed"] + rows["missing"]) == (6, 4)
    assert {key for key, reason in reasons(place).items() if reason[2]} == {"2", "3", "5", "7"}
    answers_itself(place)
    assert place.project.requests() == 4
    assert place.finish()["job"] == counts(succeeded=10)
    answers_itself(place)
    place.is_at_rest(billed=10, requests=14)


@scenario("task")
def test_expired_without_answers(place: Place) -> None:
    """The same without a row; the attempts of each request are bounded (F34, F61)."""
    place.project.spec(rows=3, retry={"attempts": 2})
    place.faults(on_task("expire", rows=[1, 2, 3]))
    for asked in (3, 6, 6):
        rows = place.finish(code=7)["job"]
        assert rows["failed"] + rows["missing"] == 3
        assert place.server.bill()["requests"] == asked
    place.is_at_rest(billed=0, requests=6)


@scenario("task")
def test_every_row_fails(place: Place) -> None:
    """Nothing but failures, at some with no file but that of errors: each row has its reason, the exit is 7 (F02)."""
    place.project.spec(rows=3)
    place.faults(on_task("error-file-only", status_code=400, message="too rude"))
    assert place.finish(code=7)["job"] == counts(failed=3)
    assert all("too rude" in line["error"]["message"] for line in place.project.output())
    assert {reason[2] for reason in reasons(place).values()} == {False}
    place.is_at_rest(billed=0, requests=3)


@scenario("task")
def test_everything_is_wrong_with_the_results(place: Place) -> None:
    """In another order, twice, with unknown ids, with failures, with holes, broken: every row is accounted for, and the
    next apply asks what may still be answered, no more (F04, F06, F41, F54)."""
    place.project.spec(rows=12)
    place.faults(
        on_task("shuffle", times=1),
        on_task("fail-rows", rows=[2, 9], status_code=500, times=1),
        on_task("fail-rows", rows=[4], status_code=400),
        on_task("missing-rows", rows=[6], times=1),
        on_task("broken-line", rows=[8], times=1),
        on_task("duplicate-lines", rows=[1, 2], times=1),
        on_task("unknown-ids", rows=[3], times=1),
    )
    rows = place.finish(code=7)["job"]
    assert rows == counts(succeeded=7, failed=3, missing=2)
    answers_itself(place)
    assert {key: (status, again) for key, (status, _, again) in reasons(place).items()} == {
        **dict.fromkeys(("2", "9"), ("failed", True)),
        **dict.fromkeys(("6", "8"), ("missing", True)),
        "4": ("failed", False),
    }
    place.faults()
    assert place.project.requests() == 4
    assert place.finish(code=7)["job"] == counts(succeeded=11, failed=1)
    answers_itself(place)
    requests = [task["requests"] for task in place.server.bill()["tasks"]]
    assert requests == [12, 4]


@scenario("task")
def test_empty_answers(place: Place) -> None:
    """A row with status 200 and an empty body has failed, and is asked again (F06)."""
    place.project.spec(rows=3)
    place.faults(on_task("empty-body", rows=[2], times=1))
    rows = place.finish(code=7)["job"]
    assert (rows["succeeded"], rows["failed"] + rows["missing"]) == (2, 1)
    assert place.project.requests() == 1
    assert place.finish()["job"] == counts(succeeded=3)


@scenario("task")
def test_cut_downloads(place: Place) -> None:
    """A download ends early: it goes on where it stopped, and what is collected is whole (F46)."""
    place.project.spec(rows=40)
    place.faults(on("download", "cut"))
    assert place.finish()["job"] == counts(succeeded=40)
    answers_itself(place)
    place.is_at_rest(billed=40)


@scenario("task")
def test_results_that_cannot_be_had_today(place: Place) -> None:
    """Nothing is asked again as long as results are refused; when they are given, they are collected (F45, F47)."""
    place.project.spec(rows=3)
    place.project.apply()
    place.faults(on("download", "404", times=None))
    for _ in range(2):
        done = place.project.call("apply", "--yes", "--json")
        assert done.code in (0, 1), done
        assert place.project.requests() == 0
    place.faults()
    assert place.finish()["job"] == counts(succeeded=3)
    place.is_at_rest(billed=3)


@scenario()
def test_cut_and_refused_answers(place: Place) -> None:
    """A refusal has failed, and so has an answer that was cut where it had to fit a schema: not mended, the text kept,
    not asked again.  Without a schema the finish reason tells of the cut (F55, F56, F62)."""
    rows = ["job asks 1?", "cut this one short", "refuse this one"]
    place.project.spec("plain", rows=rows)
    place.project.write("schemas/answer.json", json.dumps(ANSWER))
    place.project.spec("fitting", rows=rows[:2], response={"schema": "schemas/answer.json"})
    call = "chat" if place.online else "task"
    place.faults(
        {"on": call, "do": "finish-length", "match": "cut this"}, {"on": call, "do": "refuse", "match": "refuse this"}
    )
    assert place.finish(code=7) == {"plain": counts(succeeded=2, failed=1), "fitting": counts(succeeded=1, failed=1)}
    assert [line["finish_reason"] for line in place.project.output("plain")][:2] == ["stop", "length"]
    assert reasons(place, "plain")["3"][::2] == ("failed", False)
    assert reasons(place, "fitting") == {"2": ("failed", "truncated", False)}
    fits, cut = place.project.output("fitting")
    assert fits["parsed"].keys() == {"answer"}
    assert (cut["parsed"], cut["finish_reason"]) == (None, "length")
    assert cut["text"]
    place.is_at_rest(billed=5)


@scenario("batch")
def test_an_empty_error_file(place: Place) -> None:
    """An error file of no bytes, or one whose id is an empty text: no row failed (F03)."""
    for spelling in ("bytes", "text"):
        place.project.spec(spelling, rows=3)
    place.faults(*[on_task("empty-error-file", name=f"{word}-*", **{"as": word}) for word in ("bytes", "text")])
    assert place.finish() == {"bytes": counts(succeeded=3), "text": counts(succeeded=3)}
    place.is_at_rest(billed=6)


@scenario("batch")
def test_odd_cases_and_types(place: Place) -> None:
    """Status words in capitals, counts that are texts or null, times that are dates (F36, F38)."""
    place.project.spec("texts", rows=3)
    place.project.spec("nulls", rows=3)
    place.faults(
        *[on_task(do, name="texts-*") for do in ("upper-case", "string-counts", "iso-times")],
        on_task("null-counts", name="nulls-*"),
    )
    assert place.finish() == {"nulls": counts(succeeded=3), "texts": counts(succeeded=3)}
    place.is_at_rest(billed=6)


# ---- questions -----------------------------------------------------------------------------------------------------


@scenario("question")
def test_turned_away_now_and_then(place: Place) -> None:
    """429 to one question in three: no row fails for it, and none is paid twice (F19)."""
    place.project.spec(rows=12)
    place.faults({"on": "chat", "do": "429", "every": 3, "retry_after": 0.05})
    assert place.finish()["job"] == counts(succeeded=12)
    place.is_at_rest(billed=12)


@scenario("question")
def test_a_question_that_is_refused(place: Place) -> None:
    """400 to one question: that row is failed, not asked again, and the others are answered (F54, F60)."""
    place.settings(concurrency=1)
    place.project.spec(rows=5)
    place.faults(on("chat", "400", after=2, message="too rude"))
    assert place.finish(code=7)["job"] == counts(succeeded=4, failed=1)
    assert [(status, again) for status, _, again in reasons(place).values()] == [("failed", False)]
    place.is_at_rest(billed=4)


@scenario("question")
@pytest.mark.parametrize("do", ["500-after", "lost-reply", "cut"])
def test_an_answer_that_is_lost(place: Place, do: str) -> None:
    """Nobody can say whether a question was answered: it is asked again, and that alone is paid twice."""
    place.project.spec(rows=4)
    place.faults(on("chat", do))
    assert place.finish()["job"] == counts(succeeded=4)
    answers_itself(place)
    assert [one["times"] for one in place.server.bill()["duplicates"]] == [2]
    assert place.project.plan()["changes"] == []


@scenario("question")
def test_out_of_credit(place: Place) -> None:
    """402: no further question is asked, what was answered is kept, and later only the rest is asked (F53)."""
    place.settings(concurrency=1)
    place.project.spec(rows=6)
    place.faults(on("chat", "402", after=2, times=None))
    done = place.project.call("apply", "--yes", "--json")
    assert done.code not in (0, 7), done
    assert "credit" in done.err + done.out
    assert place.server.bill()["billed"] == 2
    place.faults()
    assert place.finish()["job"] == counts(succeeded=6)
    place.is_at_rest(billed=6)
