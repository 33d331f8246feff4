"""Every provider's conversations, with one answer in them spoilt.

What an input holds is a whole script: the place, the job, the conversation and every answer in it, so that a file of it
can be replayed without anything else.  Beside "only ProviderError comes out", these are promised of a spoilt answer:

- of `start`, that it is no clear no, nor an id that was not in it;
- of `find`, where our task is listed, that the task is not absent;
- of `check`, while the task goes on, that it has not ended;
- of `offers`, that each can be kept in the state;
- of any, that nothing unprintable, endless or without bound comes back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.faults.places import PLACES
from benchmarks.fuzzing.mutation import (
    PAGES,
    mutated_bytes,
    mutated_json,
    mutated_lines,
    value_of,
    with_garbage,
    written,
)
from benchmarks.fuzzing.recording import Exchange, Recording, built, recording, write_shard
from benchmarks.fuzzing.scripted import Answer, Call, Scripted, scripted
from benchmarks.fuzzing.target import BELIEVED, LOST, Broken, Target
from runner.errors import Busy, ProviderError, Refused
from runner.model import Catalogue
from runner.provider import Absent, Found, Job, Progress, Provider, Unknown
from runner.state import Pin, Pinned, State, Unreadable, dump, fold, load

FAMILIES: Mapping[str, tuple[str, ...]] = {
    "wanqing": ("simulator", "wanqing"),
    "qianfan": ("qianfan",),
    "anthropic": ("anthropic",),
    "openai": tuple(place for place in PLACES if place.startswith("openai-")),
}
ENDLESS = 3_000
"""Calls of one conversation after which it has no end."""
LONGEST = 2**20
"""Characters of what a provider may hand back for a person to read."""
STATUSES = (
    200,
    201,
    202,
    204,
    206,
    301,
    302,
    307,
    400,
    401,
    403,
    404,
    408,
    409,
    413,
    416,
    418,
    429,
    500,
    502,
    503,
    529,
)
HEADERS = (
    ("Retry-After", "9" * 400),
    ("Retry-After", "Fri, 31 Dec 9999 23:59:59 GMT"),
    ("Retry-After", "Fri, 99 Foo 0000 99:99:99 +9999"),
    ("Retry-After", "\xb2"),
    ("retry-after-ms", "1" * 9 + "."),
    ("Content-Range", "bytes 0-" + "9" * 5_000 + "/" + "9" * 5_000),
    ("Content-Range", "bytes " + "9" * 5_000 + "-1/*"),
    ("Content-Range", "bytes */0"),
    ("Content-Encoding", "gzip"),
    ("Content-Encoding", "identity, nonsense"),
    ("Content-Length", "9" * 30),
    ("Content-Length", "-1"),
    ("Content-Type", "text/html; charset=nonsense"),
    ("Content-Type", "application/json; charset=utf-16"),
    ("Location", "http://["),
    ("Location", "\xff\xfe"),
    ("Location", "/" * 5_000),
    ("ETag", '"\xe9"'),
    ("Set-Cookie", "a=b; Expires=x" + ";" * 5_000),
    ("Transfer-Encoding", "chunked"),
    ("X-Bce-Error-Code", "\xe9" * 300),
    ("", "no name"),
    ("A", "b\r\nC: d"),
)


@dataclass(frozen=True)
class Script:
    """``told``: the answers, in their order, the last of them again and again.  ``garbage``: the last one was spoilt in
    a way that says nothing, so that nothing may be believed of it."""

    place: str
    talk: str
    job: Job
    marker: str
    told: tuple[Answer, ...]
    garbage: bool

    def dumped(self) -> bytes:
        job = {**vars(self.job), "file": None, "taken": [], "identities": self.job.identities.hex()}
        told = [answer.to_json() for answer in self.told]
        return json.dumps({**vars(self), "job": job, "told": told}).encode()


def parsed(data: bytes) -> Script:
    fields: dict[str, Any] = json.loads(data)
    job = fields.pop("job")
    told = tuple(Answer.from_json(answer) for answer in fields.pop("told"))
    changes = {"taken": frozenset(job["taken"]), "identities": bytes.fromhex(job["identities"])}
    return Script(job=Job(**{**job, **changes}), told=told, **fields)


# ---- drawing -------------------------------------------------------------------------------------------------------


def _draw(rng: Random, known: Recording) -> Script:
    talk = rng.choice(list(known.talks))
    before = known.talks.get("stage", ()) if talk == "start" else ()
    told = [exchange.answer for exchange in known.talks[talk]]
    at = rng.randrange(len(told))
    spoilt, garbage = _spoilt(rng, told[at], known.talks[talk])
    told[at] = spoilt
    if rng.random() < 0.1:
        told, garbage = told[: at + 1], garbage and at == 0
    garbage = garbage and len(told) == 1
    job = replace(known.job, identities=b"" if talk == "find" else known.job.identities)
    return Script(
        known.place, talk, job, known.upload.marker, (*(exchange.answer for exchange in before), *told), garbage
    )


def _spoilt(rng: Random, answer: Answer, others: Sequence[Exchange]) -> tuple[Answer, bool]:
    """A bad answer in the place of a good one, and whether it says nothing in the place of something."""
    change = rng.randrange(20)
    value = value_of(answer.body)
    if change < 6 and value is not None:
        return replace(answer, body=written(with_garbage(rng, value))), True
    if change < 12:
        lend = [exchange.answer.body for exchange in others]
        body = mutated_lines(rng, answer.body, lend) if value is None else mutated_json(rng, answer.body, lend)
        return replace(answer, body=body), False
    if change < 14:
        page = rng.choice(PAGES)
        return replace(answer, body=page), page != b"[]"  # which is an empty list, where lists come bare
    if change < 15:
        return replace(answer, cut=rng.randint(0, len(answer.body))), len(answer.body) > 0
    body = rng.choice((answer.body, rng.choice(PAGES), mutated_bytes(rng, answer.body)))
    if change < 18:
        return replace(answer, status=rng.choice(STATUSES), body=body), False
    extra = tuple(rng.choice(HEADERS) for _ in range(rng.choice((1, 1, 2, 5))))
    status = rng.choice((answer.status, *STATUSES))
    return replace(answer, status=status, headers=(*answer.headers, *extra), body=body, cut=len(body)), False


# ---- running -------------------------------------------------------------------------------------------------------


def _conversed(server: Scripted, folder: Path, script: Script) -> None:
    """Hold the conversation, and hold what comes of it against what is promised."""
    provider = built(script.place, server.url, folder)
    job = replace(script.job, file=write_shard(provider, folder / "shard.jsonl", script.job.requests))
    calls = [0]

    def answer(_: Call) -> Answer:
        calls[0] += 1
        if calls[0] > ENDLESS:
            return Answer(401, (), b"{}")
        return script.told[min(calls[0], len(script.told)) - 1]

    server.answer = answer
    outcome: Any
    try:
        outcome = TALKS[script.talk](provider, job)
    except ProviderError as error:
        outcome = error
        _expect(len(str(error)) + len(error.word) < LONGEST, f"an error of {len(str(error)):,} characters")
        json.dumps(str(error), ensure_ascii=False).encode()
    finally:
        _close(provider)
    _expect(calls[0] <= ENDLESS, f"{script.talk} has no end")
    JUDGES.get(script.talk, _no_judge)(script, outcome)


def _start(provider: Provider, job: Job) -> str:
    return provider.start(job, provider.stage(job))


def _results(provider: Provider, job: Job) -> int:
    size = 0

    def sink(data: bytes) -> None:
        nonlocal size
        size += len(data)

    provider.results(job, sink)
    return size


TALKS: Mapping[str, Callable[[Provider, Job], Any]] = {
    "offers": lambda provider, _: provider.offers(),
    "stage": lambda provider, job: provider.stage(job),
    "start": _start,
    "find": lambda provider, job: provider.find(job),
    "find ended": lambda provider, job: provider.find(job),
    "check": lambda provider, job: provider.check(job),
    "check ended": lambda provider, job: provider.check(job),
    "results": _results,
    "cancel": lambda provider, job: provider.cancel(job),
    "verify": lambda provider, job: provider.verify(job, job.remote_id),
}


def _judge_start(script: Script, outcome: Any) -> None:
    if isinstance(outcome, str):
        _expect(0 < len(outcome) < 1_000 and outcome.isprintable(), f"the id is {outcome[:100]!r}")
        _expect(outcome in _scalars(script.told[-1].body), f"the id {outcome!r} was never given")
    elif script.garbage:
        _expect(not isinstance(outcome, Refused | Busy), f"garbage is taken for a clear no: {outcome}")


def _scalars(body: bytes) -> set[str]:
    """Every text and whole number in a JSON body, as text."""
    found: set[str] = set()
    left = [json.loads(body)]
    while left:
        value = left.pop()
        if isinstance(value, dict | list):
            left += value.values() if isinstance(value, dict) else value
        elif isinstance(value, str | int) and not isinstance(value, bool):
            found.add(str(value).strip())
    return found


def _judge_find(script: Script, outcome: Any) -> None:
    _expect(not (script.garbage and isinstance(outcome, Absent)), "garbage is taken for an absence")
    if isinstance(outcome, Found):
        _expect(0 < len(outcome.remote_id) < 1_000, f"found is {outcome.remote_id[:100]!r}")
    if isinstance(outcome, Unknown):
        _expect(len(outcome.reason) < LONGEST, "a reason without bound")


def _judge_check(script: Script, outcome: Any) -> None:
    if not isinstance(outcome, Progress):
        return
    if script.talk == "check":
        _expect(not (script.garbage and outcome.phase.ended), f"garbage is taken for an end: {outcome}")
    counts = [count for count in (outcome.total, outcome.succeeded, outcome.failed) if count is not None]
    _expect(all(type(count) is int and 0 <= count < 2**63 for count in counts), f"counts are {str(counts)[:200]}")
    _expect(0 <= outcome.look_again < 1e9, f"the next look is in {outcome.look_again} s")
    _expect(len(outcome.raw + outcome.error + outcome.expires_at) < LONGEST, "words without bound")


def _judge_offers(_script: Script, outcome: Any) -> None:
    """Whichever offer is chosen is kept in the state, which has to stay readable."""
    for offer in outcome.offers if isinstance(outcome, Catalogue) else ():
        pinned = fold(State("lineage", 1, "writer"), Pinned("batch", Pin("selector", offer)))
        try:
            kept = load(dump(pinned))
        except Unreadable as error:
            raise Broken(LOST, f"with {str(offer)[:300]} in it: {error}") from error
        _expect(kept == pinned, f"{str(offer)[:300]} is kept as another one")


def _no_judge(_script: Script, _outcome: Any) -> None:
    pass


JUDGES: Mapping[str, Callable[[Script, Any], None]] = {
    "offers": _judge_offers,
    "start": _judge_start,
    "find": _judge_find,
    "find ended": _judge_find,
    "check": _judge_check,
    "check ended": _judge_check,
}


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Broken(BELIEVED, otherwise)


def _close(provider: Any) -> None:
    provider._http.close()


@contextmanager
def conversations(folder: Path, family: str) -> Iterator[Target]:
    """Of all places of a family; each is recorded once one of its conversations is drawn."""
    known: dict[str, Recording] = {}
    with scripted() as server:

        def draw(rng: Random) -> bytes:
            place = rng.choice(FAMILIES[family])
            if place not in known:
                known[place] = recording(server, folder / place, place)
            return _draw(rng, known[place]).dumped()

        def run(data: bytes) -> None:
            _conversed(server, folder, parsed(data))

        yield Target(draw, run)
