"""A task as OpenAI's batch object, and its results as an output file and an error file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runner.simulator import engine as states
from runner.simulator.answers import Answer
from runner.simulator.engine import Engine, View
from runner.simulator.lines import Outcome, Row, Unfinished, json_line, write_line
from runner.simulator.memory import StoredFile, Task
from runner.simulator.replies import Stamp

OUTPUT, ERRORS = "output", "errors"
FINALIZING_SHARE = 0.95
"""From which share of finished rows on a batch is finalizing."""

_WORDS: Mapping[str, tuple[str, str]] = {
    states.PENDING: ("validating", "Queuing"),
    states.RUNNING: ("in_progress", "Running"),
    states.CANCELLING: ("cancelling", "Stopping"),
    states.SUCCEEDED: ("completed", "Done"),
    states.FAILED: ("failed", "Failed"),
    states.EXPIRED: ("expired", "Expired"),
    states.CANCELLED: ("cancelled", "Stopped"),
}
"""OpenAI's words, and Baidu's."""

_UNFINISHED = {
    "expired": "This request could not be executed before the completion window expired.",
    "cancelled": "This request was not executed because the batch was cancelled.",
}


def batch(view: View, *, camel: bool) -> dict[str, Any]:
    """The object; ``camel``: with Baidu's words for statuses.  The task's fate may have it spelt otherwise."""
    task, status = view.task, _status(view)
    shown = {
        "id": task.id,
        "object": "batch",
        "endpoint": task.extra["endpoint"],
        "model": task.model or None,
        "errors": _errors(view),
        "input_file_id": task.extra["file"],
        "completion_window": task.extra["window"],
        "status": _word(view, status, camel=camel),
        "output_file_id": _file_id(task, OUTPUT) if OUTPUT in _parts(view) else None,
        "error_file_id": _error_file_id(view),
        **_times(view, status),
        "request_counts": {"total": view.total, "completed": view.succeeded, "failed": view.failed},
        "usage": _usage(task) if view.ended is not None else None,
        "metadata": task.extra["metadata"],
    }
    if task.suffers("iso-times"):
        shown |= {key: _iso(value) for key, value in shown.items() if key.endswith("_at") and value is not None}
    if task.suffers("string-counts"):
        shown["request_counts"] = {key: str(count) for key, count in shown["request_counts"].items()}
    if task.suffers("null-counts"):
        shown["request_counts"] = dict.fromkeys(shown["request_counts"])
    return shown


def _status(view: View) -> str:
    """A batch whose every row failed was completed all the same: `failed` is one that could not be run."""
    if view.status == states.FAILED and not view.task.error:
        return states.SUCCEEDED
    return view.status


def _word(view: View, status: str, *, camel: bool) -> str:
    word = _WORDS[status][camel]
    if status == states.RUNNING and not camel and view.done >= FINALIZING_SHARE:
        word = "finalizing"
    return word.upper() if view.task.suffers("upper-case") else word


def _errors(view: View) -> dict[str, Any] | None:
    task = view.task
    if view.ended is None or not task.error:
        return None
    found = {"code": task.error_code or "server_error", "line": task.error_line, "message": task.error, "param": None}
    return {"object": "list", "data": [found]}


def _times(view: View, status: str) -> dict[str, int | None]:
    """Whole seconds since 1970; a time has its name from what happened then."""
    task = view.task
    ended = None if view.ended is None else int(view.ended)
    times: dict[str, int | None] = {
        "created_at": int(task.created),
        "in_progress_at": None if view.started is None or task.error else int(view.started),
        "expires_at": int(task.created + task.max_wait),
        "finalizing_at": ended if status == states.SUCCEEDED else None,
        "completed_at": ended if status == states.SUCCEEDED else None,
        "failed_at": ended if status == states.FAILED else None,
        "expired_at": ended if status == states.EXPIRED else None,
        "cancelling_at": None if task.cancelled is None else int(task.cancelled),
        "cancelled_at": ended if status == states.CANCELLED else None,
    }
    return times


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _usage(task: Task) -> dict[str, Any]:
    return {
        "input_tokens": task.input_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": task.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": task.input_tokens + task.output_tokens,
    }


# Files of results


def files(view: View) -> list[StoredFile]:
    """The files that an ended batch has made."""
    return [
        StoredFile(
            id=_file_id(view.task, part),
            project=view.task.project,
            name=f"{view.task.id}_{part}.jsonl",
            purpose="batch_output",
            created=view.ended or 0,
            ready=view.ended or 0,
            task=view.task.id,
        )
        for part in _parts(view)
    ]


def results(engine: Engine, view: View, file: str) -> Path:
    """What is in the file of this id.  Raises Refusal where it is gone."""
    if file == _file_id(view.task, OUTPUT):
        return engine.results(view, f"-{OUTPUT}", _output_line)
    return engine.results(view, f"-{ERRORS}", _error_line)


def _parts(view: View) -> list[str]:
    """Which files there are: one of answers where there is one, one of failures likewise."""
    task = view.task
    if view.ended is None or task.error:
        return []
    fell_short = task.failed or (task.rows > task.answered and (task.cancelled is not None or task.suffers("expire")))
    empty = task.suffers("empty-error-file")
    errors = fell_short or (empty is not None and empty.spelling == "bytes")
    return [part for part, there in ((OUTPUT, task.answered), (ERRORS, errors)) if there]


def _error_file_id(view: View) -> str | None:
    if ERRORS in _parts(view):
        return _file_id(view.task, ERRORS)
    return "" if view.ended is not None and view.task.suffers("empty-error-file") else None


def _file_id(task: Task, part: str) -> str:
    return f"file-{hashlib.sha256(f'{task.id} {part}'.encode()).hexdigest()[:24]}"


def _output_line(row: Row, outcome: Outcome, stamp: Stamp, custom_id: str) -> bytes:
    return write_line(row, outcome, stamp, custom_id) if isinstance(outcome, Answer) else b""


def _error_line(row: Row, outcome: Outcome, stamp: Stamp, custom_id: str) -> bytes:
    if isinstance(outcome, Answer):
        return b""
    if not isinstance(outcome, Unfinished):
        return write_line(row, outcome, stamp, custom_id)
    error = {"code": f"batch_{outcome.word}", "message": _UNFINISHED[outcome.word]}
    return json_line({"id": f"batch_req_{stamp.identity}", "custom_id": custom_id, "response": None, "error": error})
