"""Who we are among the processes of the world, and whether another one still lives."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def whoami() -> str:
    """A name for this process that no other shares: host, boot, process namespace, pid and when it started."""
    pid = os.getpid()
    return f"{socket.gethostname()}/{_machine()}/{pid}/{_started(pid)}"


def is_gone(who: str) -> bool:
    """Whether the process ``who`` ran on this machine, and no longer does.  False where that cannot be known."""
    try:
        host, machine, pid, started = who.rsplit("/", 3)
        if host != socket.gethostname() or machine != _machine() or machine == "?":
            return False
        return _started(int(pid)) != started
    except ValueError:
        return False


def _machine() -> str:
    """This boot of this machine, as this process namespace sees it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = Path("/proc/self/ns/pid").readlink().name
    except OSError:
        return "?"
    return f"{boot[:8]}-{namespace.strip('pid:[]')}"


def _started(pid: int) -> str:
    """The process's start, in clock ticks since boot; "" when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]
