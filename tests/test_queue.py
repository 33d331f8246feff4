"""A task's queue on disk: what is answered stays answered, whatever became of the process or the disk."""

from __future__ import annotations

import json
import os
import resource
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from builders import identity
from hypothesis import given
from hypothesis import strategies as st

from runner.providers.online.queue import Queue, Tally, answer_line, error_line, is_exhausted

IDS = [identity(number).hex().encode() for number in range(6)]


def request_line(id: bytes, body: dict[str, Any]) -> bytes:
    return b'{"custom_id":"%b","method":"POST","url":"/v1/chat/completions","body":%b}\n' % (
        id,
        json.dumps(body).encode(),
    )


def a_queue(folder: Path, ids: Sequence[bytes] = IDS) -> Queue:
    """A queue that was started, with one question per id."""
    shard = folder / "shard.jsonl"
    shard.write_bytes(b"".join(request_line(id, {"q": at}) for at, id in enumerate(ids)))
    queue = Queue(folder / "online", "t-1")
    queue.fill(shard)
    queue.start()
    return queue


def good(id: bytes, text: str = "yes") -> bytes:
    return answer_line(id, 200, json.dumps({"text": text}).encode(), ok=True, attempts=1, exhausted=False)


def bad(id: bytes, *, exhausted: bool = False) -> bytes:
    return error_line(id, {"code": "no_answer"}, attempts=3, exhausted=exhausted)


def answers(queue: Queue) -> bytes:
    found = bytearray()
    queue.results(found.extend)
    return bytes(found)


def left(queue: Queue) -> list[bytes]:
    return [question.id for question in queue.questions(queue.open())]


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """No file may grow beyond ``size``: a write takes what fits, and the next one fails, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_it_exists_from_its_start_on(tmp_path: Path) -> None:
    """A shard that was copied and not started is no task: a search for it finds nothing."""
    shard = tmp_path / "shard"
    shard.write_bytes(request_line(IDS[0], {}))
    queue = Queue(tmp_path / "online", "t-1")
    assert not queue.exists
    queue.fill(shard)
    assert not queue.exists
    queue.fill(shard)
    queue.start()
    assert queue.exists
    assert queue.tally() == Tally(0, 0)
    queue.remove()
    assert not queue.exists


def test_questions_come_in_order_with_their_bodies(tmp_path: Path) -> None:
    """Each question is what the shard says: id, path and the very bytes of the body."""
    queue = a_queue(tmp_path)
    found = list(queue.questions(set()))
    assert [question.id for question in found] == IDS
    assert {question.path for question in found} == {"/v1/chat/completions"}
    assert [json.loads(question.body) for question in found] == [{"q": at} for at in range(len(IDS))]


def test_what_is_answered_is_not_asked_again(tmp_path: Path) -> None:
    """Answers and failures alike are done with; the tally tells them apart."""
    queue = a_queue(tmp_path)
    assert left(queue) == IDS
    queue.append([good(IDS[0]), bad(IDS[3])])
    queue.append([good(IDS[5])])
    queue.release()
    again = Queue(tmp_path / "online", "t-1")
    assert left(again) == [IDS[1], IDS[2], IDS[4]]
    assert again.tally() == Tally(answered=2, failed=1)
    again.release()


@pytest.mark.parametrize("kept", range(1, len(good(IDS[1]))))
def test_a_torn_last_line_is_forgiven(tmp_path: Path, kept: int) -> None:
    """Killed at any byte of a write: that question is open again, and what follows stands alone."""
    queue = a_queue(tmp_path)
    queue.open()
    queue.append([good(IDS[0])])
    queue.release()
    file = tmp_path / "online/t-1/answers.jsonl"
    file.write_bytes(file.read_bytes() + good(IDS[1])[:kept])
    again = Queue(tmp_path / "online", "t-1")
    assert again.tally() == Tally(1, 0)
    assert answers(again) == good(IDS[0])
    assert left(again) == IDS[1:]
    again.append([good(IDS[2])])
    again.release()
    assert answers(again) == good(IDS[0]) + good(IDS[2])


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=12), st.integers(0, 400))
def test_any_answers_and_any_tear(tmp_path_factory: pytest.TempPathFactory, lines: list[Any], torn: int) -> None:
    """Whatever was answered and wherever it was cut: tally, results and what is left say the same."""
    queue = a_queue(tmp_path_factory.mktemp("queue"))
    written = b"".join(good(IDS[at]) if ok else bad(IDS[at]) for at, ok in lines)
    file = queue.folder / "answers.jsonl"
    file.write_bytes(written[: max(0, len(written) - torn)])
    whole = [json.loads(line) for line in answers(queue).splitlines()]
    done = {line["custom_id"]: line["ok"] for line in whole}
    assert queue.tally() == Tally(sum(done.values()), len(done) - sum(done.values()))
    assert left(queue) == [id for id in IDS if id.decode() not in done]
    assert answers(queue) == file.read_bytes()
    queue.release()


def test_one_process_asks(tmp_path: Path) -> None:
    """A second one is turned away until the first is done, or dead."""
    first, second = a_queue(tmp_path), Queue(tmp_path / "online", "t-1")
    assert first.is_free
    assert first.acquire()
    assert not first.is_free
    assert not second.is_free
    assert not second.acquire()
    first.release()
    assert second.is_free
    assert second.acquire()
    second.release()


def test_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    """Nothing has to be unlocked by hand after a kill."""
    queue = a_queue(tmp_path)
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.write(write, b"y" if queue.acquire() else b"n")
        signal.pause()
    assert os.read(read, 1) == b"y"
    assert not queue.is_free
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(read)
    os.close(write)
    assert queue.acquire()
    queue.release()


def test_a_full_disk_leaves_no_half_line(tmp_path: Path) -> None:
    """What the disk refused is not there in part either: an answer that comes later would be glued to it."""
    queue = a_queue(tmp_path)
    queue.open()
    queue.append([good(IDS[0])])
    size = len(answers(queue))
    for _ in range(2):
        with disk_of(size + 50), pytest.raises(OSError, match=r"."):
            queue.append([good(IDS[1]), good(IDS[2])])
    queue.append([good(IDS[3])])
    queue.release()
    assert (tmp_path / "online/t-1/answers.jsonl").read_bytes() == good(IDS[0]) + good(IDS[3])
    again = Queue(tmp_path / "online", "t-1")
    assert left(again) == [IDS[1], IDS[2], IDS[4], IDS[5]]
    again.release()


def test_a_stop_is_seen_by_others(tmp_path: Path) -> None:
    """`runner cancel` in one process is known to the one that asks."""
    queue, other = a_queue(tmp_path), Queue(tmp_path / "online", "t-1")
    assert not other.cancelled
    queue.cancel()
    assert other.cancelled


def test_lines_are_openais_and_say_what_became_of_it() -> None:
    """A line of answers can be read by whoever reads OpenAI's results."""
    line = json.loads(good(IDS[0]))
    assert line["custom_id"] == IDS[0].decode()
    assert line["response"] == {"status_code": 200, "body": {"text": "yes"}}
    failed = json.loads(bad(IDS[0], exhausted=True))
    assert failed["error"] == {"code": "no_answer"}
    assert failed["attempts"] == 3
    assert is_exhausted(bad(IDS[0], exhausted=True))
    assert not is_exhausted(bad(IDS[0]))
    assert not is_exhausted(good(IDS[0], '","exhausted":true,'))
