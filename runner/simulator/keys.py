"""The keys that callers show: any is good that does not start with ``invalid``."""

from __future__ import annotations

from runner.simulator.engine import Refusal
from runner.simulator.web import Handler, Reply, Request

HEADERS = ("x-api-key", "api-key", "apiKey")


def key_of(request: Request) -> str:
    """The bearer's key, or the one in a header of its own; empty where there is none."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    return next((key for name in HEADERS if (key := request.headers.get(name, "").strip())), "")


def keyed(handle: Handler) -> Handler:
    """``handle`` behind a check of the key."""

    def checked(request: Request) -> Reply:
        key = key_of(request)
        if not key:
            raise Refusal("unauthorized", "no API key was given")
        if key.startswith("invalid"):
            raise Refusal("unauthorized", "the API key is not valid")
        return handle(request)

    return checked
