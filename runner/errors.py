"""Everything that can go wrong, as a tree.

::

    RunnerError                     an expected error: a message, a place, a reason, a way on        exit 1
    ├── InvalidDocuments            every problem of every file at once
    ├── LimitExceeded               the plan is larger than `limits` allow                           exit 3
    ├── CredentialsError            a secret is missing, or a provider refused it                    exit 4
    ├── StalePlan                   a saved plan, or an approval, no longer holds                    exit 5
    ├── StateConflict               another run changed the state under us, again and again          exit 6
    └── ProviderError               what a conversation with a provider came to
        ├── Refused                 a clear no: nothing was made, and asking again will not help
        │   └── Elsewhere           it lies on another machine
        ├── Busy                    a clear not-now: nothing was made, ask again later
        └── Unsure                  nobody knows whether it was made: it may have happened
    Interrupted                     a person or the machine asked us to stop                         exit 130

Anything else that reaches the command line is a bug in runner (exit 70).

Each error has a code, kebab-case and stable: one for each cause on which a person acts, not for each message.
`runner explain CODE` tells what is behind it, from ``runner/explanations/``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong in one file.  ``line`` and ``column`` count from 1; 1:1 when the whole file is at fault.

    ``code`` adds nothing to what the message says: two problems that differ in it alone are one.
    """

    file: str
    line: int
    column: int
    message: str
    hint: str = ""
    code: str = field(default="", compare=False)

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class RunnerError(Exception):
    """An expected error: ``message`` says what and why, ``hint`` what to do, ``commands`` are ready to copy.

    ``code`` is what `runner explain` knows it by; a class may have one for all its errors.
    """

    exit_code = 1
    code = ""

    def __init__(
        self, message: str, *, where: str = "", hint: str = "", commands: Sequence[str] = (), code: str = ""
    ) -> None:
        super().__init__(message)
        self.code = code or self.code
        self.message = message
        self.where = where
        self.hint = hint
        self.commands = tuple(commands)


class InvalidDocuments(RunnerError):
    """Every problem found in the project's files, sorted by place, each with a code of its own."""

    code = "project-invalid"

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        count = len(self.problems)
        super().__init__(f"{count} problem{'s' if count != 1 else ''} in the project's files")


class LimitExceeded(RunnerError):
    """The plan asks for more than `limits` in runner.yaml allow."""

    exit_code = 3
    code = "over-limit"


class CredentialsError(RunnerError):
    """A secret is missing, unreadable, or was refused by the provider."""

    exit_code = 4


class StalePlan(RunnerError):
    """A saved plan or an approved digest no longer describes what apply would do."""

    exit_code = 5
    code = "plan-stale"


class StateConflict(RunnerError):
    """The state kept changing under this run, or is not the state this run began with."""

    exit_code = 6
    code = "state-conflict"


class ProviderError(RunnerError):
    """What a conversation with a provider came to.  ``word`` is the provider's own for it."""

    code = "provider-unsure"

    def __init__(self, message: str, *, word: str = "", where: str = "", hint: str = "", code: str = "") -> None:
        super().__init__(message, where=where, hint=hint, code=code)
        self.word = word


class Refused(ProviderError):
    """A clear no.  Nothing was made; the same question would be refused again.

    ``credentials`` says that the key was refused rather than the question.
    """

    code = "provider-refused"

    def __init__(
        self,
        message: str,
        *,
        word: str = "",
        where: str = "",
        hint: str = "",
        credentials: bool = False,
        code: str = "",
    ) -> None:
        super().__init__(
            message, word=word, where=where, hint=hint, code=code or ("key-refused" if credentials else "")
        )
        self.credentials = credentials
        if credentials:
            self.exit_code = CredentialsError.exit_code


class Elsewhere(Refused):
    """What is asked for lies on another machine."""

    code = "queue-elsewhere"


class Busy(ProviderError):
    """A clear not-now: connection refused, 429, a full queue.  Nothing was made.

    ``retry_after`` is in seconds, None where the provider named no time.
    """

    code = "provider-busy"

    def __init__(
        self,
        message: str,
        *,
        word: str = "",
        where: str = "",
        hint: str = "",
        retry_after: float | None = None,
        code: str = "",
    ) -> None:
        super().__init__(message, word=word, where=where, hint=hint, code=code)
        self.retry_after = retry_after


class Unsure(ProviderError):
    """A timeout, a cut connection or a 5xx: the call may or may not have had its effect."""


class Interrupted(BaseException):
    """Asked to stop by SIGINT or SIGTERM.  Not an Exception, so that no handler takes it for a failed call."""

    exit_code = 130
