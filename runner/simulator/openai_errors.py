"""How services of OpenAI's family are addressed, and how they say no."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runner.simulator.engine import Refusal
from runner.simulator.web import Reply, json_reply

_ERRORS: Mapping[str, tuple[int, str]] = {
    "invalid": (400, "invalid_request"),
    "unauthorized": (401, "invalid_api_key"),
    "unknown-model": (404, "model_not_found"),
    "stopped-model": (404, "model_not_found"),
    "online-model": (400, "model_not_found"),
    "unknown-file": (404, "not_found"),
    "unfit-file": (400, "invalid_request"),
    "unknown-task": (404, "not_found"),
    "not-finished": (400, "not_finished"),
    "no-output": (404, "not_found"),
    "file-expired": (404, "not_found"),
    "too-large": (413, "file_too_large"),
}
"""Refusal kind → HTTP status and code."""

CODES: Mapping[int, str] = {
    400: "invalid_request",
    401: "invalid_api_key",
    403: "permission_denied",
    404: "not_found",
    429: "rate_limit_exceeded",
    500: "server_error",
}
"""Codes that faults answer with, unless they name another."""


@dataclass(frozen=True)
class Home:
    """One path under which the wire is served, with what differs there.

    ``windows`` are the hours that a completion window may have, ``most_rows`` the lines of a file; ``camel`` says that
    statuses are Baidu's words; ``cursor`` that lists are paged by one, too.
    """

    prefix: str
    windows: tuple[int, int] = (1, 24 * 366)
    most_rows: int = 50_000
    camel: bool = False
    cursor: bool = False

    @property
    def project(self) -> str:
        """Who sees what is made here: every caller of the same path."""
        return f"openai {self.prefix}"


HOMES = (
    Home("/v1"),
    Home("/openai/v1", cursor=True),
    Home("/compatible-mode/v1"),
    Home("/api/paas/v4"),
    Home("/v2", windows=(1, 672), most_rows=5_000, camel=True),
)
"""OpenAI and most others; Azure and Groq; DashScope; Zhipu; Qianfan V2."""


def fail(status: int, code: str, message: str) -> Reply:
    return json_reply(status, error_body(status, code, message))


def refuse(refusal: Refusal) -> Reply:
    return fail(*_ERRORS[refusal.kind], refusal.message)


def error_body(status: int, code: str, message: str) -> dict[str, Any]:
    kind = "server_error" if status >= 500 else "rate_limit_error" if status == 429 else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}
