"""Template × row → body, one row at a time: the one way in which any verb learns what a batch asks."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from runner.batch import Batch
from runner.edge.grounds import Grounds
from runner.edge.paths import data_url, template_source
from runner.edge.rows import fingerprint as input_fingerprint
from runner.edge.rows import read
from runner.errors import RunnerError
from runner.model import Offer
from runner.prompt import Prompt, compile_prompt, compile_where
from runner.provider import Frame, Provider
from runner.request import Writer, body_writer
from runner.sandbox import limited_memory, watched
from runner.spec import Spec


@dataclass(frozen=True)
class Row:
    """``number`` counts from 1 in the input file, before `where` and `limit`."""

    number: int
    values: Mapping[str, Any]


def rows_of(grounds: Grounds, spec: Spec) -> Iterator[Row]:
    """The rows that a batch is about: those that `where` keeps, up to `limit`.  Raises RunnerError."""
    keeps = compile_where(spec)
    found = (Row(number, values) for number, values in enumerate(read(grounds, spec.input.path), start=1))
    kept = (row for row in found if keeps(row.values, row.number)) if keeps else found
    return islice(kept, spec.input.limit)


def check_unchanged(grounds: Grounds, batch: Batch) -> None:
    """Raises RunnerError when the input is not the one that was fingerprinted: its rows are not those of the plan."""
    spec = batch.spec
    if input_fingerprint(grounds, spec.input.path) != batch.fingerprint["input"]:
        raise changed(spec)


def changed(spec: Spec) -> RunnerError:
    return RunnerError(
        f"{spec.input.named} or a template changed while {spec.name} was being worked on",
        where=str(spec.at("input")),
        hint="Run the same command again: it goes on with the rows as they are now.",
        code="input-changed",
    )


def compile_in(grounds: Grounds, spec: Spec) -> Prompt:
    """The batch's prompt, its template files read from inside the project.  Raises RunnerError."""
    return compile_prompt(spec, load=partial(template_source, grounds), image=partial(data_url, grounds))


def inexpressible(spec: Spec, error: ValueError) -> RunnerError:
    """What a provider's no to a question means to the spec's author."""
    key = "prompt" if spec.embed is None else "embed"
    return RunnerError(str(error), where=str(spec.at(key)), hint=getattr(error, "hint", ""), code="prompt-unfit")


class Rendering:
    """A batch compiled for one provider: its rows in, canonical JSON bodies out."""

    def __init__(self, grounds: Grounds, batch: Batch, prompt: Prompt, provider: Provider) -> None:
        self.batch = batch
        self._grounds = grounds
        self._prompt = prompt
        self._provider = provider
        self._write: Writer | None = None

    @property
    def sources(self) -> Mapping[str, str]:
        """Every template in use, by where it stands."""
        return self._prompt.sources

    @property
    def frame(self) -> Frame:
        return self._provider.frame(self._prompt.shape)

    def bodies(self) -> Generator[tuple[Row, str], None, None]:
        """Every row with its body, in input order, under the bounds that untrusted templates get.

        Close it if you do not read it to its end: the bounds are the process's, and hold until then.
        """
        fill, write = self._prompt.fill, self.writer
        with watched(), limited_memory():
            for row in rows_of(self._grounds, self.batch.spec):
                yield row, write(fill(row.values, row.number))

    def body(self, row: Row) -> str:
        """One row's body, under the bounds of whoever asks for it."""
        return self.writer(self._prompt.fill(row.values, row.number))

    def example(self, number: int = 1) -> tuple[Row, str] | None:
        """Row ``number`` with its body: the next one where it is gone, the first where none follows.  None: no rows."""
        found = None
        with watched(), limited_memory():
            for row in rows_of(self._grounds, self.batch.spec):
                found = row if found is None or row.number >= number else found
                if row.number >= number:
                    break
            return None if found is None else (found, self.body(found))

    @property
    def writer(self) -> Writer:
        if self._write is None:
            self._write = body_writer(self._build(), self._prompt.slots)
        return self._write

    def _build(self) -> Callable[[Sequence[str]], Mapping[str, Any]]:
        offer, spec = self.batch.offer or Offer(id=""), self.batch.spec

        def build(texts: Sequence[str]) -> Mapping[str, Any]:
            try:
                return self._provider.encode(offer, self._prompt.question(texts))
            except ValueError as error:
                raise inexpressible(spec, error) from None

        return build
