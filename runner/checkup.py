"""What a look at everything that a run needs has found, as plain values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from runner.errors import CredentialsError, RunnerError


class Status(Enum):
    OK = "ok"
    WARN = "warn"
    """It works, and may cost somebody something."""
    FAIL = "fail"
    """A run would come to an error, or to harm."""
    UNKNOWN = "unknown"
    """It could not be found out at no cost."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: ``about`` what, what was found, why it matters, what to do.

    ``credentials``: a failure that is one of keys.
    """

    about: str
    status: Status
    what: str
    why: str = ""
    do: str = ""
    commands: tuple[str, ...] = ()
    credentials: bool = False

    @classmethod
    def of(cls, about: str, error: RunnerError, status: Status = Status.FAIL) -> Finding:
        """What an error says."""
        where = f"{error.where}: " if error.where else ""
        keys = error.exit_code == CredentialsError.exit_code
        return cls(about, status, where + error.message, "", error.hint, error.commands, credentials=keys)

    def to_json(self) -> dict[str, Any]:
        return {
            "about": self.about,
            "status": self.status.value,
            "what": self.what,
            "why": self.why,
            "do": self.do,
            "commands": list(self.commands),
        }


def exit_code(findings: Iterable[Finding]) -> int:
    """4 where credentials are missing or refused, else 1 with any failure, else 0."""
    failed = [finding for finding in findings if finding.status is Status.FAIL]
    return 4 if any(finding.credentials for finding in failed) else int(bool(failed))


def counted(number: int, what: str) -> str:
    """``3 specs``."""
    return f"{number:,} {what}{'s' if number != 1 else ''}"
