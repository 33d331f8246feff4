"""Results of a task at a platform of OpenAI's wire: all of them, or an error that says that some are owed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from json import dumps
from typing import Any

from runner.errors import Busy, Refused, Unsure
from runner.provider import Phase, Progress
from runner.providers.joined import Joined
from runner.providers.loose import address, get, items, text
from runner.providers.openai.batch import file_ids, inline_results
from runner.providers.openai.wire import Wire, batch_path, file_path

PAGE = "100"


def collect(
    wire: Wire, remote_id: str, batch: Any, progress: Progress, sink: Callable[[bytes], object], *, strict: bool
) -> None:
    """Hand over every line of results of an ended task, answers and errors alike.

    Raises Busy where it names no results although it must have some, Refused for a file that is gone, and Unsure where
    it hands over fewer than it counts.  Not ``strict``: its count is not believed any more, so that answers which are
    here do not wait for others that may not exist.
    """
    joined = Joined(sink)
    answers = _WAYS[wire.dialect.results](wire, remote_id, batch, joined)
    if progress.succeeded is not None and (progress.succeeded or progress.failed):
        owed, have = progress.succeeded, answers
    else:
        owed, have = int(progress.phase is Phase.SUCCEEDED), joined.lines
    if owed and not have:
        raise Busy(f"task {remote_id} has answers, and names no results yet")
    if have < owed and strict:
        raise Unsure(f"the results of task {remote_id} are {have:,} lines for {owed:,} answers")


def _from_files(wire: Wire, remote_id: str, batch: Any, sink: Joined) -> int:
    """Both files, or what a gateway put into the task itself.  Returns the number of lines with answers."""
    output, errors = file_ids(batch)
    if output:
        _download(wire, remote_id, output, sink)
    else:
        for entry in inline_results(batch):
            sink(_line(entry))
    answers = sink.lines
    if errors and errors != output:
        try:
            _download(wire, remote_id, errors, sink)
        except Refused as error:
            # Its rows count as missing: better than that the paid ones, which are here, cannot be had.
            if error.credentials or not answers:
                raise
    return answers


def _download(wire: Wire, remote_id: str, file_id: str, sink: Joined) -> None:
    try:
        wire.download(f"{file_path(file_id)}/content", sink)
    except Refused as error:
        if error.credentials:
            raise
        message = f"file {wire.http.scrub(file_id)} of task {remote_id} cannot be had: {error.message}"
        raise Refused(message, word=error.word, where=error.where, hint=error.hint) from None
    sink.close_line()


def _from_pages(wire: Wire, remote_id: str, _batch: Any, sink: Joined) -> int:
    params = {"limit": PAGE}
    seen: set[str] = set()
    while True:
        page = wire.ask("GET", f"{batch_path(remote_id)}/results", params)
        for entry in items(get(page, "results")):
            sink(_line(entry))
        token = text(get(page, "pagination_token"))
        if not token:
            return sink.lines
        if token in seen:
            raise Unsure(f"the list of results of task {remote_id} goes round in circles")
        seen.add(token)
        params = {"limit": PAGE, wire.dialect.cursor: token}


def _from_links(wire: Wire, remote_id: str, _batch: Any, sink: Joined) -> int:
    """Every address in the answer, without a key: that of the errors has no documented name.

    A no, such as 412, is how it says that there is nothing yet; whether something has to come, `collect` knows.
    """
    try:
        answer = wire.ask("GET", f"{batch_path(remote_id)}/results")
    except Refused as error:
        if error.credentials:
            raise
        return 0
    for url in _addresses(answer):
        wire.http.hide_link(url)
        wire.http.download(url, sink)
        sink.close_line()
    return sink.lines


_WAYS: Mapping[str, Callable[[Wire, str, Any, Joined], int]] = {
    "files": _from_files,
    "pages": _from_pages,
    "links": _from_links,
}


def _addresses(answer: Any) -> Iterator[str]:
    """Every http address in an answer, in its order, wherever it stands."""
    left = [answer]
    while left:
        value = left.pop()
        if isinstance(value, dict | list):
            left += reversed(list(value.values() if isinstance(value, dict) else value))
        elif (found := address(value)).startswith(("https://", "http://")):
            yield found


def _line(entry: Any) -> bytes:
    return dumps(entry, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
