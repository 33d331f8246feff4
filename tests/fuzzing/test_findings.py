"""What mutated inputs have brought to light, each as small as it could be made."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.edge.grounds import Grounds
from runner.edge.rows import read
from runner.errors import RunnerError
from runner.provider import Absent, Job, Phase, Unknown
from runner.providers.anthropic.batches import parse_batch
from runner.providers.listing import parse_listing
from runner.providers.loose import (
    DEEPEST,
    LONGEST_ID,
    LONGEST_TEXT,
    bounded_loads,
    count,
    identity,
    moment,
    record_of,
    since_platforms,
    text,
)
from runner.providers.openai.batch import Search, progress_of, word_of
from runner.providers.openai.dialects import DIALECTS
from runner.providers.openai.results import _addresses
from runner.providers.qianfan.lines import decode as decode_qianfan
from runner.providers.wanqing.models import parse_offers
from runner.simulator.answers import KnownAnswers
from runner.simulator.lines import Row, RowError
from runner.simulator.qianfan_lines import result_writer
from runner.simulator.replies import Stamp
from runner.state import Pin, Pinned, State, Unreadable, dump, fold, load

NOW = time.time()
JOB = Job("t-1", "job-1", "mi-9", 2, 3_600, staged="file-1", remote_id="b-1", begun_at=NOW)

# ---- words, ids, counts, times -------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), 1e999, 0.5, True, None, [], {}, "", " ", "a b", "a\0b", "x" * 1_000])
def test_no_id(value: Any) -> None:
    """A task whose id is NaN, half a word, or without an end, would be looked for in vain, and then be paid again."""
    assert identity(value) == ""


@pytest.mark.parametrize(("value", "id"), [("b-1", "b-1"), (" b-1\n", "b-1"), (17, "17"), ("x" * LONGEST_ID,) * 2])
def test_an_id(value: Any, id: str) -> None:
    assert identity(value) == id


def test_words_have_an_end() -> None:
    """A reply may be 64 MB; every piece of a token in it that is kept from being told takes a hundred bytes."""
    assert len(text("x" * 10**6)) == LONGEST_TEXT


@pytest.mark.parametrize("value", [0.5, -1, "1e300", 10**400, 2**60, float("inf"), True])
def test_no_count(value: Any) -> None:
    """Half a task is no count of none; what no platform counts would be too large to reckon with."""
    assert count(value) is None


@pytest.mark.parametrize("price", [1e305, "1e305", 10**301, 1e999])
def test_a_price_of_no_earthly_use_is_unknown(price: Any) -> None:
    """Its model is chosen and pinned, and a state with that price in it could not be read again."""
    told = {"input": price, "output": price, "currency": "CNY"}
    tier = {"usageScene": "batch", **told}
    listed = [
        *(parse_listing({"data": [{"id": "mi-1", "price": told, "context_length": price}]}) or ()),
        *parse_offers([{"modelInstance": {"modelInstanceId": "mi-1"}, "priceInfo": [tier]}]),
    ]
    for offer in listed:
        state = fold(State("lineage", 1, "writer"), Pinned("job", Pin("selector", offer)))
        assert load(dump(state)) == state
    assert [offer.price for offer in listed] == [None, None]


@pytest.mark.parametrize("value", ["0001-01-01T00:00:00+23:59", "1970-01-01", -1, 0.0])
def test_a_time_before_all_platforms_is_none(value: Any) -> None:
    """It would end the search for a task too early, or leave ours out of it."""
    assert since_platforms(moment(value) if isinstance(value, str) else value) is None


# ---- nesting -------------------------------------------------------------------------------------------------------


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def deeper(steps: int, call: Callable[[], Any]) -> Any:
    """``call`` with so many more frames around it."""
    return call() if not steps else deeper(steps - 1, call)


@pytest.mark.parametrize("depth", [1, DEEPEST - 1, DEEPEST, 940, 960, 980, 100_000])
def test_a_line_is_understood_wherever_it_is_read(depth: int) -> None:
    """Else one could be collected, and then, read by somebody with a deeper stack, never be published."""

    def understood() -> bool:
        try:
            record_of(b'{"a":%b}' % nested(depth))
        except ValueError:
            return False
        return True

    room = sys.getrecursionlimit() - DEEPEST - 300
    assert {understood(), deeper(100, understood), deeper(room, understood)} == {depth < DEEPEST}


def test_brackets_in_a_text_are_no_nesting() -> None:
    said = "[{" * DEEPEST
    assert bounded_loads(json.dumps([said, said])) == [said, said]
    assert bounded_loads(b"[" + b"[]," * DEEPEST + b"1]")[-1] == 1


def test_addresses_are_found_at_any_depth() -> None:
    """In their order; whatever else a platform says is none."""
    deep: Any = "http://c"
    for _ in range(2_000):
        deep = [deep]
    assert list(_addresses({"a": ["https://a", {"b": "http://b"}], "c": [deep, 7, "ftp://x", "http://a b"]})) == [
        *("https://a", "http://b", "http://c"),
    ]


# ---- offers, lines and files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("odd", [7, 0.5, True, "x", {"a": 1}, [7, "x", None]])
def test_prices_of_another_shape(odd: Any) -> None:
    """Unknown, and no reason not to list the model."""
    for entry in ({"priceInfo": odd}, {"priceInfo": [{"usageScene": "batch", "pricingTiers": odd}]}):
        (offer,) = parse_offers([{"modelInstance": {"modelInstanceId": "mi-1"}, **entry}])
        assert (offer.id, offer.price) == ("mi-1", None)


def test_what_a_tool_was_called_with_is_sound_text() -> None:
    """Half a surrogate pair in it could not be written to the output."""
    call = {"function": {"name": "answer", "arguments": {"a": "\ud800"}}}
    line = json.dumps({"id": "a", "output": {"choices": [{"message": {"tool_calls": [call]}}]}})
    assert (decode_qianfan(line.encode()).text or "").encode()


def test_parquet_with_texts_that_are_none(tmp_path: Path) -> None:
    """Bytes that are no UTF-8, where its own schema says that they are."""
    pyarrow = pytest.importorskip("pyarrow", reason="reading Parquet is an extra of the package")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"q": ["plain text"] * 3}), tmp_path / "rows.parquet", compression="none")
    data = (tmp_path / "rows.parquet").read_bytes()
    assert data.count(b"plain text") > 1
    (tmp_path / "rows.parquet").write_bytes(data.replace(b"plain text", b"plain \xe4\xff\xff\xff"))
    with pytest.raises(RunnerError, match="no Parquet file, or is broken") as found:
        list(read(Grounds(tmp_path), "rows.parquet"))
    assert found.value.where == "rows.parquet:1:1"


def test_answers_that_are_nested_without_an_end(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_bytes(b'{"prompt": "q", "answer": %b}\n' % nested(100_000))
    with pytest.raises(RunnerError) as found:
        KnownAnswers.read(path)
    assert [problem.message for problem in found.value.problems] == ["is not JSON"]  # type: ignore[attr-defined]


# ---- what a platform says of a task --------------------------------------------------------------------------------


@pytest.mark.parametrize("pending", [None, "?", [], {}, -1, 0.5, float("nan")])
def test_counters_that_are_none_are_no_end(pending: Any) -> None:
    """xAI's tasks have no status; without a sound count of what is left the task goes on."""
    batch = {"state": {"num_requests": 5, "num_pending": pending}}
    assert word_of(batch) == "in_progress"
    assert progress_of(batch, 5, lambda said, _: said).phase is Phase.RUNNING


@pytest.mark.parametrize("when", [[], {}, {"x": 1}, True, None])
def test_a_time_of_cancelling_that_is_none(when: Any) -> None:
    assert word_of({"state": {"num_requests": 5, "num_pending": 2}, "cancel_time": when}) == "in_progress"


@pytest.mark.parametrize("when", [True, {}, "?", -1, float("nan")])
def test_results_are_not_gone_by_a_word_that_is_no_time(when: Any) -> None:
    batch = parse_batch({"id": "b-1", "processing_status": "ended", "archived_at": when, "cancel_initiated_at": when})
    assert (batch.archived_at, batch.cancelling) == ("", False)


STRANGER = {"id": "b-9", "input_file_id": "file-9", "metadata": {"runner": "other"}, "created_at": NOW}


@pytest.mark.parametrize(
    "entry",
    [
        *(None, 7, "x", [], {}),
        {**STRANGER, "id": None},
        {"id": "b-1", "input_file_id": None, "created_at": NOW},
        {"id": "b-1", "input_file_id": {"a": 1}, "created_at": "?"},
        {"id": "b-1", "input_file_id": [], "metadata": {"runner": []}, "created_at": 0},
    ],
)
def test_an_entry_that_cannot_be_read_may_be_ours(entry: Any) -> None:
    """Unless it says whose it is, or that it was made before our start was thought of."""
    search = Search(DIALECTS["openai"], JOB)
    search.take({"data": [STRANGER, entry], "has_more": False})
    finding = search.finding()
    says_whose = isinstance(entry, dict) and entry.get("input_file_id") == "file-9"
    assert isinstance(finding, Absent if says_whose else Unknown)


def test_an_old_entry_that_cannot_be_read_is_not_ours() -> None:
    search = Search(DIALECTS["openai"], JOB)
    search.take(
        {"data": [STRANGER, {"id": "b-1", "input_file_id": 0.5, "created_at": NOW - 86_400}], "has_more": False}
    )
    assert search.finding() == Absent()


@pytest.mark.parametrize("has_more", ["true", 1, [], {}, float("nan")])
def test_a_page_that_does_not_say_whether_it_is_the_last(has_more: Any) -> None:
    for dialect in DIALECTS.values():
        search = Search(dialect, JOB)
        search.take({"data": [STRANGER], "has_more": has_more})
        assert isinstance(search.finding(), Unknown)


# ---- the simulator ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("messages", [None, 0.5, "x", [], ["x"], {"a": 1}])
def test_the_simulator_repeats_a_question_of_any_shape(messages: Any) -> None:
    """A parameter may be called as the messages are: one such task would have spoilt every list from then on."""
    row = Row(1, "a", "", {"messages": messages}, b"", "it asks nothing")
    line = result_writer(1, "default")(row, RowError(400, "x", "it asks nothing"), Stamp("a", "m", 1), "a")
    assert json.loads(line.partition(b"\t")[2])["query"] is None


# ---- whatever comes ------------------------------------------------------------------------------------------------

NAMES = (
    "format lineage serial writer batches tasks id batch provider model shard requests phase claim by until progress "
    "counts pin selector offer covered key fingerprint rows needs attempts published path at"
)
KEYS = st.sampled_from(NAMES.split())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("open"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=30,
)


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_a_state_is_read_or_said_to_be_unreadable(data: bytes) -> None:
    """Nothing in between: what is read can be written, and read again as the same."""
    try:
        state = load(data)
    except Unreadable:
        return
    assert load(dump(state)) == state


@given(JSON)
def test_a_state_with_anything_in_it(value: Any) -> None:
    document = json.loads(dump(State("lineage", 3, "writer")))
    for key in document:
        try:
            state = load(json.dumps({**document, key: value}).encode())
        except Unreadable:
            continue
        assert load(dump(state)) == state
