"""A real terminal for one command: a pseudo-terminal of any size, and what its screen shows, as pyte reads it."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import pyte
from helpers import COMMAND, PATIENCE, environment


class Terminal:
    """`runner ARGS` at a terminal.  ``piped``: standard output goes elsewhere, so that only standard error is seen."""

    def __init__(
        self,
        *args: str,
        cwd: Path,
        columns: int = 80,
        lines: int = 40,
        env: Mapping[str, str | None] | None = None,
        piped: bool = False,
    ) -> None:
        self.raw = b""
        """Everything that was written, as it came."""
        self._screen = pyte.HistoryScreen(columns, lines, history=2_000)
        self._stream = pyte.ByteStream(self._screen)
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        unset = {"COLUMNS": None, "LINES": None, "NO_COLOR": None, "FORCE_COLOR": None, "CI": None}
        self.process = subprocess.Popen(
            [*COMMAND, *args],
            cwd=cwd,
            env=environment({**unset, "TERM": "xterm-256color", **(env or {})}),
            stdin=theirs,
            stdout=subprocess.PIPE if piped else theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=_own_terminal,
        )
        os.close(theirs)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.process.kill()
        self.process.communicate()
        os.close(self._ours)

    @property
    def screen(self) -> list[str]:
        """What is to be seen now, from the top, without the empty lines at the end."""
        return _filled(self._screen.display)

    @property
    def everything(self) -> list[str]:
        """What has scrolled away, and what is to be seen."""
        wide = range(self._screen.columns)
        gone = ["".join(line[column].data for column in wide).rstrip() for line in self._screen.history.top]
        return [*gone, *self.screen]

    @property
    def colours(self) -> set[str]:
        """Of all that was ever shown, as the terminal was told: "red", "brightred" and the like."""
        shown = [*self._screen.history.top, *self._screen.buffer.values()]
        return {char.fg for line in shown for char in line.values() if char.data.strip()}

    @property
    def cursor_shown(self) -> bool:
        return not self._screen.cursor.hidden

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def until(self, *texts: str) -> list[str]:
        """The first screen on which all of these are to be seen."""
        end = time.monotonic() + PATIENCE
        while not all(any(text in line for line in self.screen) for text in texts):
            assert time.monotonic() < end, self.everything
            assert self._read(1), self.everything
        return self.screen

    def finish(self) -> int:
        """Read to the end; returns the exit code."""
        end = time.monotonic() + PATIENCE
        while self._read(1):
            assert time.monotonic() < end, self.everything
        return self.process.wait(PATIENCE)

    def _read(self, patience: float) -> bool:
        """Take in what comes; False at the end of everything."""
        if not select.select([self._ours], [], [], patience)[0]:
            return True
        try:
            data = os.read(self._ours, 65_536)
        except OSError as error:
            if error.errno != errno.EIO:  # Linux's word for: nobody has it open any more
                raise
            return False
        self.raw += data
        self._stream.feed(data)
        return bool(data)


def _own_terminal() -> None:
    """In the child: standard error's terminal is the one whose Ctrl-C it hears."""
    fcntl.ioctl(2, termios.TIOCSCTTY, 0)


def _filled(lines: Sequence[str]) -> list[str]:
    found = [line.rstrip() for line in lines]
    while found and not found[-1]:
        found.pop()
    return found
