"""The command's entry.  Light, so that a signal finds somebody at home as early as can be."""

from __future__ import annotations

import io
import os
import signal
import sys
from types import FrameType

INTERRUPTED = 130


def main() -> None:
    """Run the command line and exit."""
    signal.signal(signal.SIGTERM, _terminate)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # in a locale that lacks a character, nothing may end in a traceback
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    code = _run()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os._exit(code or 1)
    if code == INTERRUPTED:
        os._exit(code)  # calls that were left behind in other threads are not waited for
    sys.exit(code)


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _run() -> int:
    try:
        from runner.cli.guard import guarded

        return guarded()
    except KeyboardInterrupt:
        print("\nInterrupted.  The state is whole; the same command goes on from here.", file=sys.stderr)
        print("  Tasks at a provider go on meanwhile.  More: runner explain 130", file=sys.stderr)
        return INTERRUPTED
