"""Nothing paid twice, nothing lost: the corners where a reader once found that it could happen."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from helpers import Project, finished, spawn

FAST = {"type": "simulator", "speed": 50}
LOST = {"on": "create", "do": "lost-reply", "times": 1}
FULL = {"on": "create", "do": "429", "times": 1}
FIRST_TWO_FAIL = {"on": "task", "do": "fail-rows", "rows": [1, 2], "status_code": 500, "times": 1}


def project(root: Path, *faults: dict[str, Any], **provider: Any) -> Project:
    made = Project(root, {"demo": {**FAST, "faults": "faults.json", **provider}})
    made.write("faults.json", json.dumps(faults))
    return made


def quiet(made: Project, tries: int = 8) -> None:
    """Apply until there is nothing left to do."""
    for _ in range(tries):
        made.call("apply", "--yes", "--wait")
        if not made.plan()["changes"]:
            return
        time.sleep(1)
    pytest.fail(f"never quiet: {made.plan()['changes']}")


def without_faults(made: Project) -> None:
    made.write("faults.json", "[]")


def test_a_lost_reply_beside_a_full_queue_hides_no_request(tmp_path: Path) -> None:
    """Of two shards one is perhaps started and one turned away: the second is sent by a later apply."""
    made = project(tmp_path, LOST, FULL, max_requests=2)
    made.spec(rows=4)
    made.apply()
    quiet(made)
    assert made.statuses() == ["succeeded"] * 4
    assert made.bill()["duplicates"] == []
    assert made.bill()["requests"] == 4


def test_failures_collected_while_more_is_submitted_are_retried(tmp_path: Path) -> None:
    """What a collect finds out after the rows were looked at is not covered up by the submit that follows."""
    made = project(tmp_path, FIRST_TWO_FAIL)
    made.spec(rows=8)
    made.apply("--sample", "3")
    time.sleep(0.5)  # the task has ended, and nobody has asked yet
    made.apply()
    without_faults(made)
    quiet(made)
    assert made.statuses() == ["succeeded"] * 8


def test_a_coverage_written_over_a_retry_does_not_undo_it(tmp_path: Path) -> None:
    """`runner retry` between the look at the rows and the record of it still lets the rows be asked again."""
    made = project(tmp_path)
    made.spec(rows=2)
    made.finish()
    from runner import apply

    original = apply.Apply._cover

    def cover(self: apply.Apply) -> None:
        if made.call("retry", "job", "--all").code:
            pytest.fail("the retry failed")
        self._journal.refresh()
        original(self)

    made.spec(rows=["job asks 1?", "job asks 2?", "job asks 1?"])
    with mock.patch.object(apply.Apply, "_cover", cover):
        made.apply()
    assert made.requests() == 2


def test_two_applies_that_planned_the_same_pay_once(tmp_path: Path) -> None:
    """The second finds, before it sends, that the first has begun the same requests since its plan."""
    made = project(tmp_path)
    made.spec(rows=4)
    from runner import workflow

    original = workflow.carry_out

    def late(*args: Any, **options: Any) -> Any:
        with mock.patch.object(workflow, "carry_out", original), mock.patch("runner.cli.apply.carry_out", original):
            made.apply()
        return original(*args, **options)

    with mock.patch("runner.cli.apply.carry_out", late):
        document = made.apply()
    assert [change["outcome"] for change in document["changes"]] == ["skipped"]
    quiet(made)
    assert made.bill()["requests"] == 4
    assert len(made.state()["tasks"]) == 1


def test_two_processes_at_once_pay_once(tmp_path: Path) -> None:
    """Five applies started together: each request is billed once, and each run ends well."""
    made = project(tmp_path, max_requests=3)
    made.spec(rows=12)
    runs = [spawn("apply", "--yes", "--wait", cwd=tmp_path) for _ in range(5)]
    assert [finished(run).code for run in runs] == [0] * 5
    quiet(made)
    assert made.bill()["requests"] == 12
    assert made.bill()["duplicates"] == []
    assert made.statuses() == ["succeeded"] * 12


def test_nothing_is_submitted_after_a_cancel(tmp_path: Path) -> None:
    """Neither forgiven failures, nor rows that never left, nor new ones, until `retry` says so."""
    made = project(tmp_path, FIRST_TWO_FAIL, FULL, max_requests=2)
    made.spec(rows=4)
    made.apply()
    made.call("retry", "job")
    made.call("cancel", "job")
    made.spec(rows=6)
    without_faults(made)
    assert made.requests() == 0
    made.finish(code=7)
    assert made.requests() == 0
    assert made.bill()["requests"] < 4
    made.call("retry", "job")
    assert made.requests() == 6
    quiet(made)
    assert made.statuses() == ["succeeded"] * 6


def test_a_cancel_stops_a_start_that_another_run_prepares(tmp_path: Path) -> None:
    """Cancelled between Begun and Staged: the run that began it does not start it."""
    made = project(tmp_path)
    made.spec(rows=2)
    from runner.submit import Submission

    original = Submission._stage

    def stage(self: Submission, begun: Any) -> Any:
        assert made.call("cancel", "job").code == 0
        self._journal.refresh()
        return original(self, begun)

    with mock.patch.object(Submission, "_stage", stage):
        document = made.apply()
    assert [change["outcome"] for change in document["changes"]] == ["skipped"]
    assert made.bill()["tasks"] == []


def test_answers_never_stand_beside_other_rows(tmp_path: Path) -> None:
    """An input that changes while the answers are on their way: an error, and the next apply puts it right."""
    made = project(tmp_path, speed=1)
    made.spec(rows=["a", "b", "c"])
    changed = threading.Timer(0.15, lambda: made.rows(["new", "a", "b", "c"]))
    changed.start()
    done = made.call("apply", "--yes", "--wait")
    changed.join()
    assert done.code in (0, 1)
    if done.code == 1:
        assert "changed while job was being worked on" in done.err
        assert not (tmp_path / "outputs/job.jsonl").exists()
    quiet(made)
    assert [line["text"].rpartition(": ")[2] for line in made.output()] == ["new", "a", "b", "c"]
    assert made.bill()["requests"] == 4


def test_an_input_that_changes_under_the_output_is_noticed(tmp_path: Path) -> None:
    """Grown, shrunk or reordered after the plan: no output is written from the wrong rows."""
    made = project(tmp_path)
    made.spec(rows=["a", "b", "c"])
    from runner import publishing

    original = publishing.publish
    for rows in (["new", "a", "b", "c"], ["a"], ["c", "b", "a"]):
        made.rows(["a", "b", "c"])
        quiet(made)
        (tmp_path / "outputs/job.jsonl").unlink()

        def late(*args: Any, rows: list[str] = rows) -> Any:
            made.rows(rows)
            return original(*args)

        with mock.patch.object(publishing, "publish", late):
            assert made.call("apply", "--yes").code == 1
        assert not (tmp_path / "outputs/job.jsonl").exists()


def test_a_started_id_is_recorded_whatever_follows(tmp_path: Path) -> None:
    """The input vanishes during the start: the id is in the state all the same."""
    made = project(tmp_path, {"on": "create", "do": "latency", "seconds": 0.5})
    made.spec(rows=4)
    changed = threading.Timer(0.4, lambda: made.write("specs/data/job.jsonl", ""))
    changed.start()
    made.call("apply", "--yes")
    changed.join()
    (task,) = made.state()["tasks"].values()
    assert task["remote_id"]


def test_a_started_id_does_not_wait_for_its_neighbours(tmp_path: Path) -> None:
    """Of four starts one hangs: the other three are in the state while it does."""
    made = project(tmp_path, {"on": "create", "do": "latency", "seconds": 2, "times": 1}, max_requests=1)
    made.spec(rows=4)
    run = spawn("apply", "--yes", cwd=tmp_path)
    deadline = time.monotonic() + 20
    opened = 0
    while opened < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
        if (tmp_path / ".runner/state.json").exists():
            opened = sum(1 for task in made.state()["tasks"].values() if task.get("remote_id"))
            still = sum(1 for task in made.state()["tasks"].values() if task.get("phase") == "staged")
    assert (opened, still) == (3, 1)
    assert finished(run).code == 0


def test_ids_that_could_not_be_written_are_told(tmp_path: Path) -> None:
    """The disk fills up between a start and its record: the error holds the command that adopts the id."""
    made = project(tmp_path)
    made.spec(rows=1)
    from runner.journal import Journal
    from runner.state import Submitted

    original = Journal.write

    def write(self: Journal, *events: Any, **options: Any) -> Any:
        if any(isinstance(event, Submitted) for event in events):
            raise OSError(28, "No space left on device", "state.json")
        return original(self, *events, **options)

    with mock.patch.object(Journal, "write", write):
        done = made.call("apply", "--yes")
    ((id, _),) = made.state()["tasks"].items()
    (billed,) = made.bill()["tasks"]
    assert done.code == 1
    assert f"runner state adopt {id} {billed['task']}" in done.err


def test_swapped_messages_are_another_prompt(tmp_path: Path) -> None:
    """The order of templates counts, not only what stands in them."""
    made = project(tmp_path)
    first, second = {"role": "user", "content": "one {{ row.q }}"}, {"role": "user", "content": "two {{ row.q }}"}
    document = made.spec(rows=2, messages=[first, second])
    del document["prompt"]
    made.write("specs/job.yaml", json.dumps(document))
    made.finish()
    made.write("specs/job.yaml", json.dumps({**document, "messages": [second, first]}))
    assert made.requests() == 2


def test_refused_results_end_the_wait(tmp_path: Path) -> None:
    """Results that the provider no longer gives: an error with the way on, instead of asking for ever."""
    made = project(tmp_path, {"on": "download-url", "do": "404"})
    made.spec(rows=2)
    done = made.call("apply", "--yes", "--wait")
    ((id, _),) = made.state()["tasks"].items()
    assert done.code == 1
    assert f"runner state abandon {id}" in done.err
    made.call("state", "abandon", id)
    assert made.requests() == 2


def test_a_retry_is_about_one_spec_only(tmp_path: Path) -> None:
    """A spec that shares a row with another does not have the other's answers asked, and paid, again."""
    made = project(tmp_path)
    made.spec("alpha", rows=["shared", "b", "c"])
    made.finish()
    made.spec("beta", rows=["shared"])
    made.finish()
    assert made.bill()["requests"] == 3
    assert "alpha" in made.call("retry", "beta", "--all").err
    assert made.requests() == 0
    made.call("cancel", "beta")
    assert made.requests("--select", "alpha") == 0


def test_more_attempts_allow_more(tmp_path: Path) -> None:
    """Raising retry.attempts asks again what the smaller number gave up."""
    made = project(tmp_path, FIRST_TWO_FAIL)
    made.spec(rows=3, retry={"attempts": 1})
    made.finish(code=7)
    assert made.requests() == 0
    made.spec(rows=3, retry={"attempts": 2})
    assert made.requests() == 2


def test_a_spec_that_counts_on_another_is_served_when_the_other_is_not(tmp_path: Path) -> None:
    """Two specs share a row; the one that was to send it is turned away: nothing is forgotten."""
    made = project(tmp_path, FULL)
    made.spec("alpha", rows=["shared", "a"])
    made.spec("beta", rows=["shared"])
    made.apply()
    quiet(made)
    assert made.bill()["requests"] == 2
    assert (made.statuses("alpha"), made.statuses("beta")) == (["succeeded"] * 2, ["succeeded"])


def test_an_apply_in_which_nothing_moves_writes_nothing(tmp_path: Path) -> None:
    """Looking after a task that still runs leaves the state's serial as it was."""
    made = project(tmp_path, {"on": "task", "do": "never-end"})
    made.spec(rows=2)
    made.apply()
    made.apply()
    serial = made.state()["serial"]
    made.apply()
    assert made.state()["serial"] == serial


def test_an_unpinned_selector_is_planned_offline_without_a_model(tmp_path: Path) -> None:
    """No list, no pin: model and cost are null, and the counts are there."""
    made = Project(tmp_path, {"demo": {"type": "wanqing", "project_id": "p", "api_key": {"env": "NO_SUCH_KEY"}}})
    made.spec(rows=3)
    (change,) = made.plan("--offline")["changes"]
    assert (change["model"], change["cost"], change["requests"]) == (None, None, 3)


def test_rows_added_while_waiting_are_not_sent_unapproved(tmp_path: Path) -> None:
    """A full queue, and an input that grows meanwhile: the same apply sends no more than was approved."""
    made = project(tmp_path, {**FULL, "times": 2}, max_requests=2)
    made.spec(rows=4)
    from runner.apply import Apply

    original = Apply._submit_left

    def grown(self: Apply) -> None:
        made.rows(50)
        original(self)

    with mock.patch.object(Apply, "_submit_left", grown):
        made.call("apply", "--yes", "--wait")
    assert made.bill()["requests"] <= 4


def test_one_apply_asks_a_row_once(tmp_path: Path) -> None:
    """A row that fails while its neighbours still wait for room is retried by the next apply, not by this one."""
    made = project(tmp_path, {**FIRST_TWO_FAIL, "times": None}, {**FULL, "after": 1, "times": 3}, max_requests=2)
    made.spec(rows=4)
    made.finish(code=7)
    assert sorted(len(task["name"]) > 0 for task in made.bill()["tasks"]) == [True, True]


def test_images_by_row_keep_their_output_when_the_queue_is_full(tmp_path: Path) -> None:
    """A prompt with local images is edited, and nothing can be sent: the old output stays."""
    made = project(tmp_path)
    made.write("pixel.gif", "GIF89a....")
    document = made.spec(rows=[{"path": "pixel.gif"}])
    del document["prompt"]

    def write(text: str) -> None:
        parts = [{"text": text}, {"image": "{{ row.path }}"}]
        messages = [{"role": "user", "content": parts}]
        made.write("specs/job.yaml", json.dumps({**document, "model": "mi-3", "messages": messages}))

    write("what is this?")
    made.finish()
    made.write("faults.json", json.dumps([{**FULL, "times": None}]))
    write("what is that?")
    made.apply()
    assert made.statuses() == ["succeeded"]
    without_faults(made)
    quiet(made)
    assert made.bill()["requests"] == 2


def test_a_plan_takes_no_ledger_away_from_a_run(tmp_path: Path) -> None:
    """A large input: planning an edited prompt while an apply waits leaves the apply what it works with."""
    made = project(tmp_path)
    made.spec(rows=9000)
    from runner import publishing

    original = publishing.publish

    def late(*args: Any) -> Any:
        document = made.spec(prompt={"user": "{{ row.q }} again"})
        assert made.requests() == 9000
        made.spec(**{**document, "prompt": {"user": "{{ row.q }}"}})
        return original(*args)

    with mock.patch.object(publishing, "publish", late):
        made.finish()
    assert len(made.output()) == 9000


def test_a_cancel_stops_a_running_apply(tmp_path: Path) -> None:
    """Cancelled after its first shards, a batch gets no further one from the apply that still runs."""
    made = project(tmp_path, max_requests=1)
    made.spec(rows=12)
    from runner.submit import Submission

    original = Submission._finish

    def finish(self: Submission, begun: Any) -> None:
        original(self, begun)
        if len(made.state()["tasks"]) == 4:
            made.call("cancel", "job")

    with mock.patch.object(Submission, "_finish", finish):
        made.apply()
    assert len(made.bill()["tasks"]) == 4


def test_a_bug_in_one_start_costs_no_other_id(tmp_path: Path) -> None:
    """Something unforeseen in one of four starts: the ids of the other three are in the state."""
    made = project(tmp_path, max_requests=1)
    made.spec(rows=4)
    from runner.providers.wanqing.provider import Wanqing

    original = Wanqing.start
    calls: list[str] = []

    def start(self: Wanqing, *args: Any) -> str:
        calls.append("")
        if len(calls) == 1:
            raise KeyError("unforeseen")
        return original(self, *args)

    with mock.patch.object(Wanqing, "start", start):
        assert made.call("apply", "--yes").code == 70
    assert sum(1 for task in made.state()["tasks"].values() if task.get("remote_id")) == 3


def test_a_renamed_spec_waits_for_what_it_shares(tmp_path: Path) -> None:
    """Tasks filed under another name are waited for, collected and published all the same."""
    made = project(tmp_path)
    made.spec("alpha", rows=["x", "y"])
    made.apply()
    (tmp_path / "specs/alpha.yaml").rename(tmp_path / "specs/beta.yaml")
    made.spec("beta", rows=["x", "y"])
    made.finish("--select", "beta")
    assert made.statuses("beta") == ["succeeded"] * 2
    assert made.bill()["requests"] == 2


def test_one_output_that_cannot_be_written_holds_up_no_other(tmp_path: Path) -> None:
    """The error names the file; the other output is there, and so is the document on standard output."""
    made = project(tmp_path)
    made.spec("alpha", rows=1, output={"path": "blocked/alpha.jsonl"})
    made.spec("beta", rows=1)
    made.write("blocked", "a file where a folder should be")
    assert made.finish(code=1)["rows"]["beta"]["succeeded"] == 1
    assert made.statuses("beta") == ["succeeded"]


def test_a_broken_spec_holds_up_no_collecting(tmp_path: Path) -> None:
    """One spec's rows do not render, and another provider has no key: what was paid for is collected all the same."""
    made = project(tmp_path)
    made.spec("alpha", rows=2)
    made.apply()
    time.sleep(0.5)
    made.spec("beta", rows=[])
    made.apply(code=1)
    assert made.statuses("alpha") == ["succeeded"] * 2
    made.spec("alpha", rows=3)
    made.spec("beta", rows=1)
    made.apply()
    time.sleep(0.5)
    made.providers["real"] = {"type": "wanqing", "project_id": "p", "api_key": {"env": "NO_SUCH_KEY"}}
    made.configure()
    made.spec("gamma", rows=1, provider="real")
    made.apply(code=4)
    assert made.statuses("alpha") == ["succeeded"] * 3


def test_overlapping_specs_pay_once_when_the_queue_is_full(tmp_path: Path) -> None:
    """One spec's rows are a part of another's, and the provider turns both away twice: each row is sent once."""
    made = project(tmp_path, {**FULL, "times": 2})
    made.spec("alpha", rows=[f"row {number}" for number in range(6)])
    made.spec("beta", rows=[f"row {number}" for number in range(10)])
    made.finish()
    assert (made.bill()["requests"], made.bill()["duplicates"]) == (10, [])
    assert (made.statuses("alpha"), made.statuses("beta")) == (["succeeded"] * 6, ["succeeded"] * 10)


def test_a_spec_is_not_covered_by_a_start_that_was_turned_away(tmp_path: Path) -> None:
    """Two specs share rows; theirs is the one start of three that is turned away: the other spec still waits for it."""
    made = project(tmp_path, max_requests=2)
    made.spec("alpha", rows=["one", "two", "three", "four"])
    made.spec("beta", rows=["three", "four", "five"])
    from runner.errors import Busy
    from runner.providers.wanqing.provider import Wanqing

    original = Wanqing.start
    turned_away: list[str] = []

    def start(self: Wanqing, job: Any, upload: Any) -> str:
        if b"three" in job.file.read_bytes() and not turned_away:
            turned_away.append(job.task)
            raise Busy("no room")
        return original(self, job, upload)

    with mock.patch.object(Wanqing, "start", start):
        made.apply()
    assert turned_away
    quiet(made)
    assert (made.statuses("alpha"), made.statuses("beta")) == (["succeeded"] * 4, ["succeeded"] * 3)
    assert (made.bill()["requests"], made.bill()["duplicates"]) == (5, [])


def test_a_spec_equal_to_another_is_published_with_it(tmp_path: Path) -> None:
    """All its requests are another's, which had to wait for room: both outputs are there when the apply ends."""
    made = project(tmp_path, FULL)
    for name in ("alpha", "beta"):
        made.spec(name, rows=["same", "rows"])
    made.finish()
    assert (made.statuses("alpha"), made.statuses("beta")) == (["succeeded"] * 2, ["succeeded"] * 2)
    assert made.bill()["requests"] == 2


def test_a_page_in_place_of_results_costs_nothing(tmp_path: Path) -> None:
    """Something that is no result file at all is not collected, and nothing is asked again because of it."""
    made = project(tmp_path, {"on": "download", "do": "garbage", "times": 1})
    made.spec(rows=5)
    done = made.call("apply", "--yes", "--wait")
    assert (done.code, made.requests()) == (1, 0)
    assert "is a result" in done.err
    without_faults(made)
    made.finish()
    assert made.statuses() == ["succeeded"] * 5
    assert made.bill()["requests"] == 5


def test_no_task_is_removed_while_it_is_started(tmp_path: Path) -> None:
    """`state rm` and `state abandon` leave a task alone that a living run has in its hands."""
    made = project(tmp_path, {"on": "create", "do": "latency", "seconds": 3})
    made.spec(rows=1)
    run = spawn("apply", "--yes", "--wait", cwd=tmp_path)
    phases: list[str] = []
    while phases != ["staged"]:
        time.sleep(0.05)
        if (tmp_path / ".runner/state.json").exists():
            phases = [task.get("phase", "") for task in made.state()["tasks"].values()]
    (id,) = made.state()["tasks"]
    for command in ("rm", "abandon"):
        refused = made.call("state", command, id)
        assert (refused.code, "another run is at work" in refused.err) == (1, True)
    assert finished(run).code == 0
    assert made.bill()["requests"] == 1


def test_one_cancelled_batch_takes_no_neighbour_along(tmp_path: Path) -> None:
    """Four tasks travel together; one is cancelled during the upload, and the other three are started."""
    made = project(tmp_path)
    for name in ("alpha", "beta", "gamma", "delta"):
        made.spec(name, rows=[f"{name} asks"])
    from runner.submit import Submission

    original = Submission._stage

    def stage(self: Submission, begun: Any) -> Any:
        made.call("cancel", "alpha")
        return original(self, begun)

    with mock.patch.object(Submission, "_stage", stage):
        made.finish(code=7)
    assert [made.statuses(name) for name in ("beta", "gamma", "delta")] == [["succeeded"]] * 3
    assert sorted(task["name"].partition("-")[0] for task in made.bill()["tasks"]) == ["beta", "delta", "gamma"]


def test_an_exhausted_row_leaves_nothing_to_do(tmp_path: Path) -> None:
    """After the last attempt the output is written, and the next plan is empty."""
    made = project(tmp_path, {"on": "task", "do": "fail-rows", "rows": [1], "status_code": 500})
    made.spec(rows=3)
    for _ in range(3):
        made.finish(code=7)
    assert made.plan()["changes"] == []
