"""A task of Qianfan's, as the platform tells of it, in one piece or in a list.  Pure.

Documented at https://cloud.baidu.com/doc/qianfan-api/s/Gmo1g4hxg.  The document cuts off the name of a failure's reason
(``errorRe…``) and of the total of rows: the former is read under every plausible name, the latter not at all.
``progress`` counts the rows that were processed, well or not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runner.provider import Phase
from runner.providers.loose import count, first_text, get, identity, items, moment, since_platforms, text
from runner.providers.qianfan.bos import Place, parse_place

PHASES: Mapping[str, Phase] = {
    "queuing": Phase.QUEUED,
    "queueing": Phase.QUEUED,
    "queued": Phase.QUEUED,
    "running": Phase.RUNNING,
    "stopping": Phase.RUNNING,
    "done": Phase.SUCCEEDED,
    "stopped": Phase.CANCELLED,
    "failed": Phase.FAILED,
    "expired": Phase.EXPIRED,
}
"""``runStatus`` in lower case.  A word that is not here is taken to mean that the task goes on."""

_REASON = ("errorReason", "errorMessage", "errorMsg")


@dataclass(frozen=True)
class RemoteTask:
    """Empty or None: the platform does not say.  ``created`` in Unix seconds."""

    id: str
    name: str
    description: str
    model: str
    inputs: Place | None
    outputs: Place | None
    """The folder that was named for results."""
    folder: str
    """The folder in it that the platform made for them."""
    status: str
    processed: int | None
    error: str
    created: float | None

    @property
    def phase(self) -> Phase:
        return PHASES.get(self.status.casefold(), Phase.RUNNING)

    @property
    def is_told(self) -> bool:
        """Whether it says what it is a task of."""
        return self.inputs is not None or bool(self.description)

    @property
    def is_stopping(self) -> bool:
        """Whether it has ended, or will without having been through."""
        return self.phase.ended or self.status.casefold() == "stopping"


def parse_task(value: Any) -> RemoteTask:
    code, reason = text(get(value, "errorCode")), first_text(value, _REASON)
    return RemoteTask(
        id=identity(get(value, "taskId")),
        name=text(get(value, "name")),
        description=text(get(value, "description")),
        model=text(get(value, "modelId")) or last_step(text(get(value, "endpoint"))),
        inputs=parse_place(text(get(value, "inputBosUri"))),
        outputs=parse_place(text(get(value, "outputBosUri"))),
        folder=last_step(text(get(value, "outputDir"))),
        status=text(get(value, "runStatus")),
        processed=count(get(value, "progress")),
        error=reason if code in ("", "0") else f"{code}: {reason}".removesuffix(": "),
        created=moment(get(value, "createTime")),
    )


@dataclass(frozen=True)
class Page:
    """A piece of the list of tasks.  ``is_last``: the platform says that nothing follows."""

    tasks: tuple[RemoteTask, ...]
    is_last: bool
    marker: str
    """Where the next piece begins; empty where that is not said."""


def parse_page(value: Any) -> Page:
    """What is not a list of tasks is an empty piece of which more is to come."""
    info = get(value, "pageInfo")
    is_list = isinstance(value, dict) and isinstance(value.get("taskList", 0), list | None)
    return Page(
        tuple(parse_task(task) for task in items(get(value, "taskList"))),
        is_last=is_list and get(info, "isTruncated") is False,
        marker=text(get(info, "marker")),
    )


def reaches(tasks: Sequence[RemoteTask], since: float) -> bool:
    """Whether tasks that were listed as the newest first go back beyond ``since``, so that no later one can follow."""
    times = [made for task in tasks if (made := since_platforms(task.created)) is not None]
    return len(times) == len(tasks) > 0 and times == sorted(times, reverse=True) and times[-1] < since


def last_step(path: str) -> str:
    """The last step of a path: an endpoint or a folder may come as a whole URL or URI."""
    return path.rstrip("/").rpartition("/")[2]
