"""What Baidu's services share: the account, the check of its signature, and how they say no."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping

from runner.simulator.bce_auth import Credentials, Message, verify
from runner.simulator.engine import Refusal
from runner.simulator.web import Handler, Reply, Request, json_reply

DEMO = Credentials("AKDEMO", "SKDEMO")
"""The account where the environment names none."""

ERRORS = {
    "unsigned": (403, "AccessDenied"),
    "bad-authorization": (400, "InvalidHTTPAuthHeader"),
    "unknown-key": (403, "InvalidAccessKeyId"),
    "bad-signature": (403, "SignatureDoesNotMatch"),
    "expired-signature": (400, "RequestExpired"),
}
"""Refusal kind → HTTP status and code, for every service.  Which status the last two come with is not documented."""


CODES = {400: "InappropriateJSON", 403: "AccessDenied", 404: "NotFound", 429: "TooManyRequests", 500: "InternalError"}
"""Codes that faults answer with, unless they name another."""


def account() -> Credentials:
    """The account of ``QIANFAN_ACCESS_KEY`` and ``QIANFAN_SECRET_KEY`` in the environment, else :data:`DEMO`."""
    return Credentials(
        os.environ.get("QIANFAN_ACCESS_KEY") or DEMO.access_key,
        os.environ.get("QIANFAN_SECRET_KEY") or DEMO.secret_key,
    )


def signed(handle: Handler, credentials: Credentials, clock: Callable[[], float]) -> Handler:
    """``handle`` behind a check of the signature."""

    def checked(request: Request) -> Reply:
        verify(Message(request.method, request.target, request.headers), credentials, clock())
        return handle(request)

    return checked


def request_id() -> str:
    return secrets.token_hex(16)


def fail(status: int, code: str, message: str) -> Reply:
    """An error in the body, and again in the headers that the gateway in front of the services sets."""
    identity = request_id()
    words = message.encode("ascii", "replace").decode()
    headers = {
        "x-bce-request-id": identity,
        "X-Bce-Error-Code": code,
        "X-Bce-Error-Message": "".join(letter if letter.isprintable() else " " for letter in words),
    }
    return json_reply(status, {"requestId": identity, "code": code, "message": message}, headers)


def refuser(errors: Mapping[str, tuple[int, str]]) -> Callable[[Refusal], Reply]:
    """How a service refuses: :data:`ERRORS` and its own ``errors``."""

    def refuse(refusal: Refusal) -> Reply:
        status, code = {**ERRORS, **errors}[refusal.kind]
        return fail(status, code, refusal.message)

    return refuse
