"""Work that goes on: how far, how fast, how long yet; in words, in pictures, and told only when it takes long."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from builders import a_task
from rich.console import Console

from runner.cli import telling
from runner.cli.telling import Live, Plain
from runner.edge.http import Http
from runner.progress import (
    DOWNLOADING,
    UPLOADING,
    Awaited,
    Going,
    Pace,
    Picture,
    Step,
    Transfer,
    average,
    seconds_left,
    summed,
)
from runner.report.progress import picture_line, rate, size, span, step_line
from runner.report.terminal_progress import picture_view
from runner.report.text import width
from runner.tally import awaited
from runner.task import COLLECTED, ENDED, LATEST, OPEN

# ---- how fast, how long yet ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        ([], None),
        ([(0, 5)], None),
        ([(0, 5), (0, 9)], None),
        ([(0, 5), (10, 5)], None),
        ([(0, 5), (10, 25)], 2.0),
        ([(0, 0), (50, 500), (100, 550), (200, 600)], 0.5),  # what was longer ago than it looks back counts no more
        ([(0, 100), (10, 200), (20, 3), (30, 23)], 2.0),  # less than before: something else has begun
    ],
)
def test_a_pace(looks: Sequence[tuple[float, int]], expected: float | None) -> None:
    """By the first and the last of the recent looks; nothing is said of what does not move."""
    pace = Pace(span=100)
    for at, done in looks:
        pace.saw(at, done)
    assert pace.rate == expected


def test_many_looks_take_little_memory_and_lose_nothing() -> None:
    """As many as a file of gigabytes brings: the rate is that of the whole."""
    pace = Pace(span=10)
    for number in range(100_000):
        pace.saw(number / 10_000, number * 7)
    assert pace.rate == pytest.approx(70_000, rel=0.05)
    assert len(pace._looks) < 200


@pytest.mark.parametrize(
    ("going", "seconds"),
    [
        (Going(Step("x", 5, 20), 3.0), 5.0),
        (Going(Step("x", 5, 20)), None),
        (Going(Step("x", 5), 3.0), None),
        (Going(Step("x", 20, 20), 3.0), None),
        (Going(Transfer(UPLOADING, 10, 30), 4.0), 5.0),
    ],
)
def test_time_left(going: Going, seconds: float | None) -> None:
    """Only where how much there is, and how fast it goes, are known."""
    assert seconds_left(going) == seconds


def test_an_average_since_the_start() -> None:
    """For the first look at a task that has been running for long."""
    assert average(Awaited("a", 1, 60, 100, since=1_000), 1_030) == 2
    assert average(Awaited("a", 1, 0, 100, since=1_000), 1_030) is None
    assert average(Awaited("a", 1, 5, 100, since=1_000), 1_000) is None


def test_transfers_are_summed() -> None:
    """A total is known where all are."""
    one, other = Transfer(UPLOADING, 5, 10), Transfer(UPLOADING, 1, 20)
    assert summed([one, other]) == Transfer(UPLOADING, 6, 30)
    assert summed([one, Transfer(UPLOADING, 1)]) == Transfer(UPLOADING, 6)


def test_what_is_awaited() -> None:
    """By spec: what ended counts as done, an open task as the provider or a later word has it, never as too much."""
    tasks = [
        a_task("t-1", phase=OPEN, requests=10, progress=(10, 2, 1), started_at=2_000.0),
        a_task("t-2", phase=OPEN, requests=10, progress=(10, 99, 0), started_at=1_900.0),
        a_task("t-3", phase=COLLECTED, requests=5, started_at=1_500.0),
        a_task("t-4", phase=ENDED, requests=5, started_at=3_000.0),
        a_task("t-5", batch="b", phase=ENDED),
        a_task("t-6", batch="c", phase=OPEN, max_wait=10**400, started_at=5.0),
    ]
    assert awaited(tasks, {"t-1": 4}) == [
        Awaited("a", tasks=2, done=4 + 10 + 5 + 5, total=30, since=1_500.0, until=1_900.0 + 86_400),
        Awaited("c", tasks=1, done=0, total=3, since=5.0, until=LATEST),
    ]


# ---- in words --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (12_345_678, "12.3 MB"), (999_600, "1.0 MB"), (150_000, "150 kB")],
)
def test_sizes(count: int, text: str) -> None:
    """In the unit that fits."""
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0s"), (0.4, "0s"), (59, "59s"), (60, "1m"), (750, "12m 30s"), (83_400, "23h 10m"), (183_600, "2d 3h")],
)
def test_spans(seconds: float, text: str) -> None:
    """In the two largest units."""
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("per_second", "text"), [(1_234, "1,234/s"), (3.14, "3.1/s"), (0.5, "30/min"), (0.01, "0.6/min")]
)
def test_rates(per_second: float, text: str) -> None:
    """Of what is slow, by the minute."""
    assert rate(per_second) == text


PICTURE = Picture(
    1_000.0,
    step=Going(Step("submitting", 4, 12)),
    transfers=(Going(Transfer(UPLOADING, 12_300_000, 48_000_000), 4_100_000.0, files=3),),
    awaited=(
        Going(Awaited("gsm8k", 2, 805, 1_319, 0.0, 1_000.0 + 82_900), 31.0),
        Going(Awaited("翻译每一个问题", 1, 5, 1_000_000, 0.0, 999.0)),
    ),
)


def test_lines_of_a_picture() -> None:
    """The most telling: bytes, else work, else what is waited for; the first expiry of all."""
    assert picture_line(PICTURE) == "uploading 3 files 12.3 MB of 48.0 MB (4.1 MB/s, 9s left)"
    assert picture_line(Picture(0.0, PICTURE.step)) == "submitting 4 of 12"
    assert picture_line(Picture(1_000.0, awaited=PICTURE.awaited[:1])) == (
        "waiting for 2 tasks: 805 of 1,319 requests (31/s, 17s left, expires in 23h)"
    )
    asked = Picture(1_000.0, awaited=PICTURE.awaited, tempo="31 rows/s, 2,400 tokens/s")
    assert picture_line(asked).startswith("waiting for 3 tasks: 810 of 1,001,319 requests (31 rows/s, 2,400 tokens/s, ")
    assert picture_line(Picture(0.0)) == ""
    assert step_line(Going(Step("rendering a\x1b[31mb"))) == "rendering a[31mb"


@pytest.mark.parametrize("columns", [120, 80, 50, 20])
def test_a_picture_keeps_its_height(columns: int) -> None:
    """Each thing has one line however narrow it is, and no line is wider than the terminal: what is drawn in place
    would else leave pieces behind."""
    lines = _drawn(PICTURE, columns, 40)
    assert len(lines) == 5
    assert max(map(width, lines)) <= columns
    assert "23h" in _drawn(PICTURE, 120, 40)[3]


def test_a_picture_of_many_specs() -> None:
    """As many as there is room for above the cursor's line; the rest is counted."""
    many = tuple(Going(Awaited(f"s{number:04}", 1, 0, 10, 0.0)) for number in range(1_000))
    lines = _drawn(Picture(0.0, awaited=many), 80, 10)
    assert len(lines) == 9
    assert lines[-1].strip() == "… and 993 more specs"


def _drawn(picture: Picture, columns: int, height: int) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=columns, height=height, markup=False).print(picture_view(picture, columns, height))
    return [line.rstrip() for line in out.getvalue().splitlines()]


# ---- told, and shown -------------------------------------------------------------------------------------------------


class Hours:
    """A clock that is set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        monkeypatch.setattr(telling.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(telling.time, "time", lambda: self.now)


@pytest.fixture
def hours(monkeypatch: pytest.MonkeyPatch) -> Hours:
    return Hours(monkeypatch)


def test_short_work_is_not_told(hours: Hours, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing within two seconds; then what goes on, then again every ten, and at once what is of another kind."""
    plain = Plain()
    heard = []
    told = [(0, "reading a"), (1.9, "reading b"), (2, "reading c"), (5, "reading d"), (6, "writing")]
    for at, what in [*told, (15, "reading e"), (16, "reading f")]:
        hours.now = 1_000.0 + at
        plain(what, 3, 5)
        heard.append(capsys.readouterr().err)
    assert heard == ["", "", "reading c 3 of 5\n", "", "writing 3 of 5\n", "", "reading f 3 of 5\n"]


def test_another_stretch_of_work_is_short_again(hours: Hours, capsys: pytest.CaptureFixture[str]) -> None:
    """What somebody took a minute to approve was no work."""
    plain = Plain()
    hours.now += 60
    plain.clear()
    plain("submitting", 1, 2)
    assert capsys.readouterr().err == ""


def test_transfers_are_told_while_they_last(hours: Hours, capsys: pytest.CaptureFixture[str]) -> None:
    """Bytes, rate and time left, of all files of one way together; none of what has ended."""
    plain = Plain()
    with plain.transfer(UPLOADING) as one, plain.transfer(UPLOADING) as other:
        one(0, 10_000_000)
        other(0, 10_000_000)
        hours.now += 4
        one(2_000_000, 10_000_000)
        hours.now += 6
        other(3_000_000, 10_000_000)
        picture = plain.picture()
    assert picture.transfers == (Going(Transfer(UPLOADING, 5_000_000, 20_000_000), 500_000.0, 2),)
    assert capsys.readouterr().err == "uploading 2 files 2.0 MB of 20.0 MB (500 kB/s, 36s left)\n"
    assert plain.picture().transfers == ()


def test_waiting_takes_the_place_of_work(hours: Hours) -> None:
    """With the average since the start until two looks say how fast it goes now."""
    plain = Plain()
    plain("submitting", 1, 1)
    plain.waiting([Awaited("a", 1, 50, 100, since=hours.now - 100)], "")
    assert plain.picture() == Picture(hours.now, awaited=(Going(Awaited("a", 1, 50, 100, hours.now - 100), 0.5),))
    hours.now += 10
    plain.waiting([Awaited("a", 1, 70, 100, since=900.0)], "")
    assert plain.picture().awaited[0].rate == 2


def test_nothing_is_drawn_of_short_work(capsys: pytest.CaptureFixture[str]) -> None:
    """On a terminal too; what is announced meanwhile is said all the same, also by the time it is over."""
    live = Live(coloured=False)
    live("submitting", 1, 2)
    live.announce("Stopping.")
    live.clear()
    live.announce("Stopped.")
    assert capsys.readouterr().err == "\nStopping.\n\nStopped.\n"
    assert "picture" not in {thread.name for thread in threading.enumerate()}


# ---- files that travel -----------------------------------------------------------------------------------------------


class Keeper(BaseHTTPRequestHandler):
    """Takes any file, and hands out a large one; the first answer to a download is cut in the middle."""

    cut = True
    DATA = bytes(range(256)) * 4_096

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self._reply(b"{}")

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", str(len(self.DATA)))
        self.end_headers()
        self.wfile.write(self.DATA[: 300_000 if type(self).cut else None])
        type(self).cut = False

    def _reply(self, data: bytes) -> None:
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    Keeper.cut = True
    server = ThreadingHTTPServer(("127.0.0.1", 0), Keeper)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/file"
    server.shutdown()
    thread.join()
    server.server_close()


class Heard(Plain):
    """Remembers every byte count that it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[str, int, int | None]] = []

    def _changed(self) -> None:
        self.heard += [(one.way, one.moved, one.total) for one in self._transfers.values()]


@pytest.fixture
def carried() -> Iterator[tuple[Http, Heard]]:
    heard = Heard()
    http = Http(progress=heard, sleep=lambda _: None)
    yield http, heard
    http.close()


def test_an_upload_tells_its_bytes(carried: tuple[Http, Heard], url: str, tmp_path: Path) -> None:
    """In growing numbers up to its size; a body that is no file is not worth telling."""
    http, heard = carried
    file = tmp_path / "shard"
    file.write_bytes(bytes(1_000_000))
    http.call("PUT", url, retry=False, content=b"small")
    assert heard.heard == []
    http.call("PUT", url, retry=False, content=file)
    counts = [moved for _, moved, _ in heard.heard]
    assert {(way, total) for way, _, total in heard.heard} == {(UPLOADING, 1_000_000)}
    assert counts == sorted(counts)
    assert len(set(counts)) > 5
    assert counts[-1] == 1_000_000
    assert heard.picture().transfers == ()


def test_a_download_tells_its_bytes_once(carried: tuple[Http, Heard], url: str) -> None:
    """Also one that is cut, and read from its start again: what was handed over is not counted twice."""
    http, heard = carried
    got: list[bytes] = []
    take: Callable[[bytes], object] = got.append
    http.download(url, take)
    assert b"".join(got) == Keeper.DATA
    counts = [moved for _, moved, _ in heard.heard]
    assert {(way, total) for way, _, total in heard.heard} == {(DOWNLOADING, len(Keeper.DATA))}
    assert counts == sorted(counts)
    assert counts[-1] == len(Keeper.DATA)
    assert heard.picture().transfers == ()
