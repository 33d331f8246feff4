"""What a platform says of a task, in all the shapes that platforms use, as plain values."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.edge.secrets import Scrubber
from runner.provider import Absent, Found, Job, Phase, Progress, Unknown
from runner.providers.openai.batch import FIXES, Search, letters_of, problems_of, progress_of, told
from runner.providers.openai.dialects import DIALECTS


def progress(**batch: Any) -> Progress:
    return progress_of({"status": "in_progress", **batch}, 200, Scrubber())


WORDS = {
    Phase.QUEUED: "validating Validating queued Queuing pending",
    Phase.RUNNING: "in_progress IN_PROGRESS PROGRESS Running finalizing cancelling Stopping dreaming",
    Phase.SUCCEEDED: "completed COMPLETED Completed Done PartiallyCompleted PARTIALLY_SUCCEEDED",
    Phase.FAILED: "failed FAILED Failed",
    Phase.EXPIRED: "expired EXPIRED Expired",
    Phase.CANCELLED: "cancelled canceled Stopped",
}


@pytest.mark.parametrize(("phase", "word"), [(phase, word) for phase, words in WORDS.items() for word in words.split()])
def test_status_words(phase: Phase, word: str) -> None:
    """Any case, Baidu's and Novita's own; an unknown word is kept and means that the task goes on (F36, F39)."""
    found = progress(status=word)
    assert (found.phase, found.raw) == (phase, word)


@pytest.mark.parametrize(
    ("counters", "more", "phase"),
    [
        ({"num_requests": 0}, {}, Phase.QUEUED),
        ({"num_requests": 3, "num_pending": 1}, {}, Phase.RUNNING),
        ({"num_requests": "3", "num_pending": "0", "num_success": "2", "num_error": "1"}, {}, Phase.SUCCEEDED),
        ({"num_requests": 3, "num_pending": 1}, {"cancel_time": "2026-01-01"}, Phase.CANCELLED),
        ({"num_requests": 0}, {"cancel_time": "x", "cancel_by_xai_message": "line 1 is bad"}, Phase.FAILED),
    ],
)
def test_counters_without_a_status(counters: dict[str, Any], more: dict[str, Any], phase: Phase) -> None:
    """xAI's tasks have none: it is what their counters come to."""
    found = progress(status=None, state=counters, **more)
    assert found.phase is phase
    assert found.error == more.get("cancel_by_xai_message", "")


@pytest.mark.parametrize(
    ("batch", "counts"),
    [
        ({"request_counts": {"total": 5, "completed": 3, "failed": 1}}, (5, 3, 1)),
        ({"request_counts": {"total": "5", "completed": "3", "failed": "1"}}, (5, 3, 1)),
        ({"request_counts": {"total": None, "completed": None, "failed": None}}, (None, None, None)),
        ({"request_counts": {"total": 5}}, (5, None, None)),
        ({"request_counts": "?"}, (None, None, None)),
        ({"total": 5, "completed": 3, "failed": 1}, (5, 3, 1)),
        ({"state": {"num_requests": 5, "num_success": 3, "num_error": 1}}, (5, 3, 1)),
        ({"progress": 50}, (200, 100, None)),
        ({"progress": "12.5"}, (200, 25, None)),
        ({"progress": 101}, (None, None, None)),
        ({"progress": 100, "status": "COMPLETED"}, (None, None, None)),
        ({}, (None, None, None)),
    ],
)
def test_counts(batch: dict[str, Any], counts: tuple[int | None, ...]) -> None:
    """As numbers, as text, null, absent, or as a percentage of what was sent, which proves nothing at the end (F38)."""
    found = progress(**batch)
    assert (found.total, found.succeeded, found.failed) == counts


REASON = {"code": "url_mismatch", "message": "bad url", "line": 3, "param": "url"}
WHOLE = f"line 3: url_mismatch: bad url ({FIXES['urlmismatch']})"


@pytest.mark.parametrize(
    ("batch", "error"),
    [
        ({"errors": {"object": "list", "data": [REASON]}}, WHOLE),
        ({"errors": [REASON]}, WHOLE),
        ({"errors": REASON}, WHOLE),
        ({"errors": {"data": [{**REASON, "line": "3"}]}}, WHOLE),
        ({"errors": None, "error": "no such model"}, "no such model"),
        ({"errors": ["one", "two"]}, "one; two"),
        ({"errors": ["1", "2", "3", "4", "5"]}, "1; 2; 3; and 2 more"),
        ({"errors": {"data": []}}, ""),
        ({"errors": {}, "error": {}}, ""),
        ({"errors": None}, ""),
        ({}, ""),
    ],
)
def test_reasons(batch: dict[str, Any], error: str) -> None:
    """An object with data, a list, one object, a sentence; with the line and what to do (F08, F10)."""
    assert told(problems_of(batch)) == error


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        *[({"code": code, "message": "m"}, False) for code in FIXES],
        ({"code": "invalid_json_line", "message": "internal error"}, False),
        ({"code": "server_error", "message": "m"}, True),
        ({"code": "token_limit_exceeded", "message": "m"}, True),
        ({"code": "", "message": "Enqueued token limit reached"}, True),
        ({"code": "odd", "message": "odd"}, False),
        (None, True),
    ],
)
def test_whether_the_same_bytes_may_do_better(error: Any, retryable: bool) -> None:
    """Not after a failed validation; after a full queue, or a failure without a reason (F08, F10, F16)."""
    found = progress(status="failed", errors=error)
    assert found.retryable is retryable
    assert progress(status="expired", errors=error).retryable is True


def test_a_task_that_was_turned_away() -> None:
    """Failed for want of room and nothing else, and not a row was asked (F16)."""
    full = {"code": "token_limit_exceeded", "message": "m"}
    assert progress(status="failed", errors={"data": [full, full]}).turned_away
    assert not progress(status="failed", errors={"data": [full, REASON]}).turned_away
    assert not progress(status="failed", errors=[full], request_counts={"completed": 1}).turned_away
    assert not progress(status="failed").turned_away
    assert not progress(status="in_progress", errors=[full]).turned_away


@pytest.mark.parametrize("counted", [None, {"total": 3, "completed": None, "failed": None}])
@pytest.mark.parametrize(
    "kept",
    [
        {"output_file_id": "file-out"},
        {"error_file_id": "file-err"},
        {"results": [{"custom_id": "a"}]},
        {"request_counts": {"total": 3, "completed": 0, "failed": 1}},
    ],
)
def test_a_task_that_holds_results_was_not_turned_away(kept: dict[str, Any], counted: Any) -> None:
    """A file, a result or a failed row says that rows were asked: it is collected, not sent again unread (F16)."""
    full = {"code": "token_limit_exceeded", "message": "m"}
    nothing = {"request_counts": counted, "output_file_id": "", "error_file_id": None, "results": []}
    assert progress(status="failed", errors=[full], **nothing).turned_away
    found = progress(status="failed", errors=[full], **{**nothing, **kept})
    assert not found.turned_away
    assert found.retryable


def test_a_failure_that_a_gateway_hides() -> None:
    """Shown as running past its own deadline, it is running: the clock that ends it is ours (F40)."""
    found = progress(status="in_progress", expires_at=1, request_counts={"total": 2, "completed": 0, "failed": 2})
    assert (found.phase, found.expires_at) == (Phase.RUNNING, "1")


def test_fixes_are_found_by_letters() -> None:
    """The table is asked with the letters of a code: a key with anything else in it would never be found."""
    assert all(key == letters_of(key) for key in FIXES)


# The search


BEGUN = 1_767_225_600.0
JOB = Job("t", "our-name", "m", requests=1, max_wait=1, staged="file-1", begun_at=BEGUN)
OURS = {"id": "b-1", "input_file_id": "file-1"}


def entry(created: Any, **more: Any) -> dict[str, Any]:
    return {"id": f"at-{created}", "created_at": created, **more}


def more_after(*entries: Any, dialect: str = "openai") -> str:
    """The cursor that a page leads to."""
    return Search(DIALECTS[dialect], JOB).take({"data": list(entries), "has_more": True, "last_id": "next"})


@pytest.mark.parametrize(
    ("entries", "goes_on"),
    [
        ([entry(BEGUN), entry(BEGUN - 7_200)], False),
        ([entry(str(int(BEGUN))), entry(str(int(BEGUN - 7_200)))], False),
        ([entry("2026-01-01T00:00:00Z"), entry("2025-12-31T22:00:00Z")], False),
        ([entry("2026-01-01T00:00:00"), entry("2025-12-31T22:00:00.123456789Z")], False),
        ([entry("2026-01-01"), entry("2025-12-30")], False),
        ([entry("2026-01-01"), entry("2025-12-31")], True),
        ([entry(BEGUN), entry(BEGUN - 1_800)], True),
        ([entry(BEGUN - 7_200), entry(BEGUN)], True),
        ([entry(BEGUN - 9_000), entry(BEGUN - 7_200)], True),
        ([entry(BEGUN - 7_200)], True),
        ([entry(BEGUN), entry("?"), entry(BEGUN - 7_200)], True),
        ([entry(BEGUN), entry(None), entry(BEGUN - 7_200)], True),
    ],
)
def test_how_far_a_list_is_read(entries: list[Any], goes_on: bool) -> None:
    """To its end, unless it was seen to run from new to old and came to tasks an hour older than the start."""
    assert bool(more_after(*entries)) is goes_on


def test_where_our_name_is_looked_for() -> None:
    """At the dialect's own place: the same word elsewhere is a stranger's."""
    for dialect, batch in {
        "openai": {"metadata": {"runner": "our-name"}},
        "dashscope": {"metadata": {"ds_name": "our-name"}},
        "xai": {"name": "our-name"},
        "digitalocean": {"request_id": "our-name"},
    }.items():
        search = Search(DIALECTS[dialect], JOB)
        search.take({"data": [{"id": "b-1", "batch_id": "b-1", **batch}], "has_more": False})
        assert search.finding() == Found("b-1")
        stranger = Search(DIALECTS["together"], JOB)
        stranger.take([{"id": "b-1", **batch}])
        assert stranger.finding() == Absent()


@pytest.mark.parametrize("junk", [None, 1, "x", [], {}, {"id": None}, {"metadata": "x"}])
def test_junk_in_a_list(junk: Any) -> None:
    """It is passed over, and hides nothing."""
    search = Search(DIALECTS["openai"], JOB)
    assert search.take({"data": [junk, OURS], "has_more": False}) == ""
    assert search.finding() == Found("b-1")


OTHER = {"id": "b-9", "batch_id": "b-9", "input_file_id": "file-9"}
"""A stranger's, so that a page is not empty."""


@pytest.mark.parametrize(
    ("dialect", "page"),
    [
        ("groq", {"data": [OTHER], "has_more": True}),
        ("groq", {"data": [OTHER], "has_more": True, "last_id": "b-9", "paging": {"next_cursor": None}}),
        ("together", {"data": [OTHER], "has_more": True, "last_id": "b-9"}),
        ("together", {"data": [OTHER], "paging": {"next_cursor": "b-9"}}),
        ("xai", {"batches": [OTHER], "has_more": True, "pagination_token": None}),
        ("openai", {"data": [], "has_more": True}),
        ("openai", {"data": [{"batch_ref": "x"}], "has_more": True}),
        ("openai", {"data": [OTHER, {"batch_ref": "x"}]}),
        ("digitalocean", {"edges": [{"node": OTHER}], "page_info": {"hasNextPage": True, "endCursor": None}}),
    ],
)
def test_a_list_that_goes_on_and_not_from_where(dialect: str, page: dict[str, Any]) -> None:
    """What its further pages hold nobody knows: the task is not absent, unless it was seen on this one (F28)."""
    search = Search(DIALECTS[dialect], JOB)
    assert search.take(page) == ""
    assert search.finding() == Unknown("the provider's list of tasks may go on, and does not say from where")
    search.take([{**OURS, "batch_id": "b-1", "file_id": "file-1"}])
    assert search.finding() == Found("b-1")


def test_an_empty_page_that_is_not_the_last() -> None:
    """What was asked for may be filtered out of a page: the list goes on where it says so."""
    search = Search(DIALECTS["openai"], JOB)
    assert search.take({"data": [], "has_more": True, "last_id": "b-9"}) == "b-9"
    assert search.take({"data": [], "has_more": False}) == ""
    assert search.finding() == Absent()


def test_a_list_that_need_not_go_on() -> None:
    """Once it has come to tasks that are older than the start, the rest of it can be unreachable."""
    search = Search(DIALECTS["groq"], JOB)
    assert search.take({"data": [entry(BEGUN), entry(BEGUN - 7_200)], "has_more": True}) == ""
    assert search.finding() == Absent()


@pytest.mark.parametrize("ours", [{"input_file_id": "file-1"}, {"metadata": {"runner": "our-name"}}])
def test_our_task_without_an_id(ours: dict[str, Any]) -> None:
    """It is there, though its id stands where nobody looks: not absent, and not the stranger beside it."""
    search = Search(DIALECTS["openai"], JOB)
    search.take({"data": [{"uuid": "b-1", **ours}, OTHER], "has_more": False})
    assert search.finding() == Unknown("our task is listed, and without an id")


def test_an_empty_file_id_is_nobody_s() -> None:
    """A start whose file is not known is not the first task that names none."""
    search = Search(DIALECTS["openai"], Job("t", "our-name", "m", 1, 1))
    search.take({"data": [{"id": "b-1", "input_file_id": ""}, {"id": "b-2"}], "has_more": False})
    assert search.finding() == Absent()


# Whatever comes


WORD = st.sampled_from(["2026-01-01", "0001-01-01T00:00:00+23:59", "nan", "1e999", "b-1", "failed", "completed", ""])
NAMES = (
    "status state errors error data code message line request_counts total completed progress num_requests "
    "cancel_time created_at create_time id batch_id metadata runner input_file_id edges node page_info endCursor "
    "hasNextPage paging next_cursor pagination_token has_more last_id batches"
)
KEYS = st.sampled_from(NAMES.split())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORD | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=30,
)


@given(JSON)
def test_no_answer_is_too_odd(answer: Any) -> None:
    """Any JSON at all comes to a progress, and to a finding."""
    found = progress_of(answer, 3, Scrubber())
    assert isinstance(found.error, str)
    for dialect in DIALECTS.values():
        search = Search(dialect, JOB)
        assert isinstance(search.take(answer), str)
        assert isinstance(search.finding(), Found | Absent | Unknown)


def test_every_platform_is_asked_as_rarely_as_it_wishes() -> None:
    """Azure documents 60 seconds, which hold for a task that has just begun, too."""
    azure = DIALECTS["azure"]
    assert (azure.poll_young, azure.poll) == (60, 60)
    assert [name for name, dialect in DIALECTS.items() if not 1 <= dialect.poll_young <= dialect.poll] == []
