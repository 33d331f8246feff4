"""A project from Python: what the commands do, as values and without a word on any stream."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NotRequired, Self, TypedDict, cast

from runner.connect import connect
from runner.edge.signals import stopping
from runner.edge.world import World
from runner.errors import Interrupted, Problem
from runner.joining import Line
from runner.journal import Journal
from runner.load import find_root, load, problems
from runner.outcome import Outcome
from runner.plan import Plan
from runner.project import Project as Settings
from runner.reading import Reader
from runner.report.status import all_names, batch_rows
from runner.resolve import Options, together
from runner.result import Counts
from runner.revision import Revision
from runner.sandbox import rationed
from runner.selecting import FAILED, chosen
from runner.spec import Spec
from runner.task import Task
from runner.workflow import Approval, Request, carry_out, check_approval, prepare


class Usage(TypedDict):
    """Tokens, None where the provider did not count them."""

    input_tokens: int | None
    output_tokens: int | None


class Failure(TypedDict):
    """Why a row has no answer, or none that counts."""

    code: str
    message: str
    retryable: bool


class Result(TypedDict):
    """What became of one sample of one row: a line of the output file, with the row."""

    key: str
    sample: int
    status: str
    text: str | None
    parsed: Any
    finish_reason: str | None
    usage: Usage
    model: str | None
    task: str | None
    error: Failure | None
    input: Mapping[str, Any]
    prompt: NotRequired[Mapping[str, Any]]
    """The request's body, where it was asked for."""


@dataclass(frozen=True)
class Status:
    """What the state knows of one spec."""

    name: str
    rows: Counts
    tasks: tuple[Task, ...]


class Project:
    """A folder with a runner.yaml.

    Every call reads the files and the state anew, as every command does.  All that can go wrong is a `RunnerError` of
    :mod:`runner.errors`.  What was opened on the way stays open until :meth:`close`, or the end of a ``with``.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._closing = ExitStack()
        self._worlds: dict[bool, tuple[Settings, World]] = {}

    @classmethod
    def open(cls, folder: str | Path = ".") -> Self:
        """The project in ``folder``, or in the nearest one above it.  Raises RunnerError where there is none."""
        return cls(find_root(Path(folder)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of connections, and of the embedded simulator.  Results that are half read cannot be read further."""
        self._worlds.clear()
        self._closing.close()

    # ---- what the commands do ----------------------------------------------------------------------------------------

    def validate(self) -> list[Problem]:
        """Every problem of every file, by place; empty where all is well."""
        with rationed():
            return problems(self.root)

    def plan(
        self,
        *,
        select: str | Sequence[str] = (),
        offline: bool = False,
        upgrade: bool = False,
        allow: Mapping[str, float] | None = None,
    ) -> Plan:
        """What :meth:`apply` would do, and what it would cost.  Changes nothing.

        ``select``: only these specs, by glob.  ``offline``: ask no provider.  ``upgrade``: choose models anew.
        ``allow``: limits that are lifted for once, by name.
        """
        request = _request(select, offline=offline, upgrade=upgrade, allow=allow)
        with rationed():
            world, specs, journal = self._opened(offline=offline)
            prepared = prepare(world, specs, journal.state, request)
            prepared.check()
            return prepared.plan

    def apply(
        self,
        *,
        expect: str | None = None,
        wait: bool = False,
        timeout: float | None = None,
        select: str | Sequence[str] = (),
        sample: int | None = None,
        upgrade: bool = False,
        allow: Mapping[str, float] | None = None,
    ) -> Outcome:
        """Do what :meth:`plan` shows; the call is the approval.  Call it again to go on.

        ``expect``: only if the plan has this digest.  ``wait``: stay until all is answered and written, or for
        ``timeout`` seconds.  ``sample``: submit only the first so many rows of each spec.  The other options are those
        of `plan`, and a digest is that of a plan with the same.

        Rows that failed are no error: the outcome counts them.  Raises RunnerError once all that could be done is done
        and recorded.  Ctrl-C lets what is under way be recorded, and raises KeyboardInterrupt then.
        """
        request = _request(select, sample=sample, upgrade=upgrade, allow=allow)
        with rationed():
            world, specs, journal = self._opened()
            try:
                prepared = prepare(world, specs, journal.state, request)
                if expect is not None:
                    prepared.check()
                check_approval(prepared.plan, Approval(digest=expect))
                with stopping(world.stop, [signal.SIGINT]):
                    outcome = carry_out(
                        world, journal, prepared, request, wait=wait, timeout=timeout, resubmits=expect is None
                    )
            except Interrupted:
                raise KeyboardInterrupt from None
        if outcome.errors:
            raise together(outcome.errors)
        return outcome

    def status(self) -> list[Status]:
        """What the state knows of every spec, and of every batch whose spec is gone.  Asks no provider."""
        _, specs, journal = self._opened(offline=True)
        state = journal.state
        return [
            Status(name, batch_rows(state, name), tuple(state.of(name)))
            for name in all_names(state, [spec.name for spec in specs])
        ]

    def results(
        self, name: str, *, failed: bool = False, revision: int | None = None, prompts: bool = False
    ) -> Iterator[Result]:
        """What became of each row of a spec, in input order, also while it runs.  Asks no provider; needs no secret.

        ``failed``: only failed and missing rows.  ``revision``: the answers to an earlier prompt.  ``prompts``: with
        the body of each request.
        """
        lines = self._reader().lines(name, bodies=prompts, revision=revision)
        return (_result(line) for line in chosen(lines, FAILED if failed else ()))

    def revisions(self, name: str) -> tuple[Revision, ...]:
        """How a spec asked from time to time, as far as the state remembers, oldest first."""
        return self._reader().revisions(name)

    # ---- what they share ---------------------------------------------------------------------------------------------

    def _reader(self) -> Reader:
        world, specs, journal = self._opened(offline=True)
        return Reader(world, specs, journal.state)

    def _opened(self, *, offline: bool = False) -> tuple[World, list[Spec], Journal]:
        """The project as its files are now; connections last as long as runner.yaml says the same."""
        settings, specs = load(self.root)
        known = self._worlds.get(offline)
        if known is None or known[0] != settings:
            known = self._worlds[offline] = settings, connect(self.root, settings, self._closing, offline=offline)
        world = known[1]
        world.stop.clear()  # an earlier call may have been asked to stop
        return world, specs, Journal(world.store, world.unique)


def _request(
    select: str | Sequence[str],
    *,
    offline: bool = False,
    sample: int | None = None,
    upgrade: bool = False,
    allow: Mapping[str, float] | None = None,
) -> Request:
    allow = allow or {}
    globs = (select,) if isinstance(select, str) else tuple(select)
    return Request(globs, Options(offline=offline, upgrade=upgrade, sample=sample, no_rows="no_rows" in allow), allow)


def _result(line: Line) -> Result:
    whole = {**line.output, "input": line.row.values}
    if line.body is not None:
        whole["prompt"] = json.loads(line.body)
    return cast(Result, whole)
