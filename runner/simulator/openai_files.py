"""OpenAI's files and batches, and what providers of the same wire do otherwise.

Where a rule or a spelling is not documented (which refusals come at once, how a file that is deleted is missed) this
module makes a choice; docs/simulator.md lists them.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from runner.simulator import listing, openai_batch
from runner.simulator.engine import Engine, Order, Refusal, View
from runner.simulator.keys import key_of, keyed
from runner.simulator.lines import numbered_lines
from runner.simulator.memory import StoredFile
from runner.simulator.multipart import parts
from runner.simulator.openai_errors import CODES, HOMES, Home, fail, refuse
from runner.simulator.web import Reply, Request, Route, Wire, json_reply

BATCH_PURPOSES = ("batch", "batch-api")
PURPOSES = (*BATCH_PURPOSES, "assistants", "evals", "fine-tune", "user_data", "vision")
MAX_FILES_LISTED = 10_000
BATCHES_LISTED, MAX_BATCHES_LISTED = 20, 100
MAX_PAIRS, MAX_KEY, MAX_VALUE = 16, 64, 512
"""Of a batch's metadata."""

_WINDOW = re.compile(r"([0-9]{1,4})([hd])")
_ENDPOINT = re.compile(r"(/[A-Za-z0-9._-]+){1,6}")
_NAME = re.compile(r"[^\x00-\x1f/\\]{1,255}")


def wire(engine: Engine) -> Wire:
    """The same calls under each of the paths that providers have them at."""
    return Wire([route for home in HOMES for route in _routes(engine, home)], refuse, fail, CODES)


def _routes(engine: Engine, home: Home) -> tuple[Route, ...]:
    files, batches = _Files(engine, home), _Batches(engine, home)
    at_files, at_batches = f"{home.prefix}/files", f"{home.prefix}/batches"
    return (
        Route("POST", at_files, "upload", keyed(files.upload)),
        Route("GET", at_files, "files", keyed(files.list)),
        Route("GET", f"{at_files}/{{id}}", "file", keyed(files.show)),
        Route("DELETE", f"{at_files}/{{id}}", "delete", keyed(files.delete)),
        Route("GET", f"{at_files}/{{id}}/content", "download", keyed(files.content)),
        Route("POST", at_batches, "create", keyed(batches.create)),
        Route("GET", at_batches, "list", keyed(batches.list)),
        Route("GET", f"{at_batches}/{{id}}", "detail", keyed(batches.show)),
        Route("POST", f"{at_batches}/{{id}}/cancel", "cancel", keyed(batches.cancel)),
    )


class _Files:
    def __init__(self, engine: Engine, home: Home) -> None:
        self._engine = engine
        self._project = home.project

    def upload(self, request: Request) -> Reply:
        name, digest, purpose, size = "", "", "", [0]
        for part in parts(request.headers.get("Content-Type", ""), request.body.chunks()):
            if part.name == "file":
                name, digest = part.file_name or "", self._engine.keep(_measured(part.chunks, size))
            elif part.name == "purpose":
                purpose = part.text()
        if not digest:
            raise Refusal("invalid", "'file' is a required property")
        if purpose not in PURPOSES:
            raise Refusal("invalid", f"{purpose!r} is not one of {', '.join(PURPOSES)} - 'purpose'")
        if not _NAME.fullmatch(name) or (purpose in BATCH_PURPOSES and not name.endswith(".jsonl")):
            raise Refusal("invalid", "a batch's file has to have a name that ends with .jsonl")
        now, slow = self._engine.clock(), request.fault("slow-file")
        file = StoredFile(
            id=f"file-{secrets.token_hex(12)}",
            project=self._project,
            name=name,
            purpose=purpose,
            created=now,
            ready=now + (slow.seconds or 0 if slow else 0),
            digest=digest,
            size=size[0],
        )
        self._engine.memory.add_file(file)
        return json_reply(200, self._shown(file))

    def list(self, request: Request) -> Reply:
        query = request.query
        size = listing.limit(query, MAX_FILES_LISTED, MAX_FILES_LISTED)
        found = self._engine.memory.list_files(self._project, query.get("purpose"), query.get("after"), size + 1)
        return json_reply(200, _page([self._shown(file) for file in found[:size]], more=len(found) > size))

    def show(self, request: Request) -> Reply:
        return json_reply(200, self._shown(self._file(request)))

    def delete(self, request: Request) -> Reply:
        file = self._file(request)
        self._engine.memory.delete_file(file.id)
        return json_reply(200, {"id": file.id, "object": "file", "deleted": True})

    def content(self, request: Request) -> Reply:
        file = self._file(request)
        if file.task is None:
            path = self._engine.kept(file.digest or "")
        else:
            path = openai_batch.results(self._engine, self._engine.task(self._project, file.task), file.id)
        return Reply(200, path, "application/octet-stream")

    def _file(self, request: Request) -> StoredFile:
        identity = request.params["id"]
        file = self._engine.memory.file(self._project, identity)
        if file is None:
            raise Refusal("unknown-file", f"No such File object: {identity}")
        return file

    def _shown(self, file: StoredFile) -> dict[str, Any]:
        size = file.size
        if size is None and file.task is not None:
            view = self._engine.task(self._project, file.task)
            size = openai_batch.results(self._engine, view, file.id).stat().st_size
        return {
            "id": file.id,
            "object": "file",
            "bytes": size,
            "created_at": int(file.created),
            "expires_at": None,
            "filename": file.name,
            "purpose": file.purpose,
            "status": "pending" if self._engine.clock() < file.ready else "processed",
            "status_details": None,
        }


class _Batches:
    def __init__(self, engine: Engine, home: Home) -> None:
        self._engine = engine
        self._home = home

    def create(self, request: Request) -> Reply:
        asked = request.body.json()
        if not isinstance(asked, Mapping):
            raise Refusal("invalid", "the body is not a JSON object")
        file = self._input(asked.get("input_file_id"))
        endpoint = asked.get("endpoint")
        if not isinstance(endpoint, str) or not _ENDPOINT.fullmatch(endpoint):
            raise Refusal("invalid", "'endpoint' has to be the path that the file's lines go to")
        window = asked.get("completion_window", "24h")
        order = Order(
            name=file.name.removesuffix(".jsonl"),
            project=self._home.project,
            model=self._first_model(file),
            file_name=file.name,
            max_wait=_seconds(window, self._home),
            key=key_of(request),
            wire="openai",
            prefix="infer-" if self._home.camel else "batch_",
            extra={
                "endpoint": endpoint,
                "window": window,
                "metadata": _metadata(asked.get("metadata"), self._home),
                "file": file.id,
            },
            validated_later=True,
            most_rows=self._home.most_rows,
        )
        task = self._engine.create(order, file.digest or "")
        batch = self._shown(self._engine.view(task))
        return json_reply(200, {"job": batch, "warning": None} if request.fault("wrapped") else batch)

    def list(self, request: Request) -> Reply:
        query, lag = request.query, request.fault("lag")
        size = listing.limit(query, BATCHES_LISTED, MAX_BATCHES_LISTED)
        after = query.get("after") or query.get("cursor")
        views, more = self._engine.tasks_beside(self._home.project, after, size, lag.seconds or 0 if lag else 0)
        page = _page([self._shown(view) for view in views], more=more)
        if self._home.cursor:
            page["paging"] = {"next_cursor": page["last_id"] if more else None}
        return json_reply(200, page["data"] if request.fault("bare-list") else page)

    def show(self, request: Request) -> Reply:
        batch = self._shown(self._engine.task(self._home.project, request.params["id"]))
        return json_reply(200, {**batch, "status": request.worded(batch["status"])})

    def cancel(self, request: Request) -> Reply:
        return json_reply(200, self._shown(self._engine.cancel(self._home.project, request.params["id"])))

    def _shown(self, view: View) -> dict[str, Any]:
        for file in openai_batch.files(view):
            if self._engine.memory.file(file.project, file.id) is None:
                self._engine.memory.add_file(file)
        return openai_batch.batch(view, camel=self._home.camel)

    def _input(self, identity: Any) -> StoredFile:
        file = self._engine.memory.file(self._home.project, identity) if isinstance(identity, str) else None
        if file is None:
            raise Refusal("unfit-file", f"No such File object: {identity} - 'input_file_id'")
        if file.task is not None or file.purpose not in BATCH_PURPOSES:
            raise Refusal("unfit-file", f"the file {file.id} was not uploaded for a batch")
        if self._engine.clock() < file.ready:
            raise Refusal("unfit-file", f"the file {file.id} is not processed yet")
        return file

    def _first_model(self, file: StoredFile) -> str:
        """The model of the first line, which has to be that of all; empty where there is none to be seen."""
        with self._engine.kept(file.digest or "").open("rb") as lines:
            for _, line in numbered_lines(lines):
                try:
                    model = json.loads(line)["body"]["model"]
                except (ValueError, LookupError, TypeError, RecursionError):
                    return ""
                return model if isinstance(model, str) and model.isprintable() else ""
        return ""


def _measured(chunks: Iterable[bytes], size: list[int]) -> Iterator[bytes]:
    """The chunks; the number of their bytes is added to ``size``."""
    for chunk in chunks:
        size[0] += len(chunk)
        yield chunk


def _page(data: list[dict[str, Any]], *, more: bool) -> dict[str, Any]:
    return {"object": "list", **listing.page(data, more=more)}


def _seconds(window: Any, home: Home) -> float:
    match = _WINDOW.fullmatch(window) if isinstance(window, str) else None
    hours = int(match[1]) * (24 if match[2] == "d" else 1) if match else 0
    least, most = home.windows
    if not least <= hours <= most:
        raise Refusal("invalid", f"'completion_window' has to be between {least}h and {most}h, such as 24h")
    return hours * 3600.0


def _metadata(given: Any, home: Home) -> dict[str, Any] | None:
    """Up to 16 pairs of texts; the sample of Qianfan's document has a number, too."""
    kinds = (str, int, float) if home.camel else (str,)
    if given is None:
        return None
    fits = isinstance(given, dict) and len(given) <= MAX_PAIRS
    if not fits or not all(
        len(key) <= MAX_KEY and isinstance(value, kinds) and len(str(value)) <= MAX_VALUE
        for key, value in given.items()
    ):
        raise Refusal("invalid", f"'metadata' has to be up to {MAX_PAIRS} texts of up to {MAX_VALUE} characters")
    return dict(given)
