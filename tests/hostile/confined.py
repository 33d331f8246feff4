"""`runner` with the time and the memory that the contract gives to any command on a hostile spec."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from helpers import PATIENCE, Done, environment

_SCRIPT = (
    "import resource, runpy, sys\n"
    "resource.setrlimit(resource.RLIMIT_CPU, (20, 20))\n"
    "resource.setrlimit(resource.RLIMIT_AS, (10**9, 10**9))\n"
    "sys.argv[0] = 'runner'\n"
    "runpy.run_module('runner', run_name='__main__')"
)


def confined(folder: Path, *args: str) -> Done:
    """`runner ARGS` on the project in ``folder``; the kernel stops it after 20 s of processor time."""
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, "-C", str(folder), *args],
        cwd=Path(__file__).parents[2],
        env=environment(None),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())
