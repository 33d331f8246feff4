"""Good conversations of every provider with the simulator, written down so that they can be held again, and spoilt.

A clock that is moved by hand makes a task go on, and end, when the next conversation needs it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from json import dumps
from pathlib import Path

from benchmarks.faults.places import KEYS, ONLINE, PLACES, provider
from benchmarks.fuzzing.scripted import Answer, Call, Scripted, passed_on
from runner.edge.http import Http
from runner.model import Offer
from runner.project import ProviderConfig, SecretRef
from runner.provider import Found, Job, Message, Part, Provider, Question, Upload
from runner.registry import build
from runner.simulator.server import Simulator

MODEL = "mi-9"
SIZES = {"ours": 3, "next": 2, "stopped": 1}
"""Requests in each of the three tasks: two of a size could not be told apart everywhere."""
IDS = tuple(f"{number:032x}" for number in range(1, 4))
BATCHES = tuple(place for place in PLACES if place not in ONLINE)


@dataclass(frozen=True)
class Exchange:
    """One call and its answer, the server's address left out of both."""

    call: Call
    answer: Answer


@dataclass(frozen=True)
class Recording:
    """Conversations of one place by name, and the job that they are about."""

    place: str
    job: Job
    upload: Upload
    talks: Mapping[str, tuple[Exchange, ...]]


def built(place: str, url: str, folder: Path) -> Provider:
    """The provider of ``place`` at ``url``, which sleeps without taking time."""
    settings = dict(provider(place, url))
    config = ProviderConfig(place, settings.pop("type"), _with_secrets(settings))
    return build(config, http=_hasty_http(), secret=_secret, simulator_url=lambda: url, folder=folder)


def _with_secrets(settings: Mapping[str, object]) -> dict[str, object]:
    return {
        key: SecretRef(env=value["env"]) if isinstance(value, dict) and "env" in value else value
        for key, value in settings.items()
    }


def _secret(ref: SecretRef) -> str:
    return KEYS[ref.env or ""]


def _hasty_http() -> Http:
    passed = [0.0]

    def sleep(seconds: float) -> None:
        passed[0] += seconds

    return Http(sleep=sleep, clock=lambda: passed[0], jitter=lambda: 0.5)


def write_shard(provider: Provider, path: Path, requests: int) -> Path:
    """A file of request lines, as a shard is cut."""
    lines = []
    for id in IDS[:requests]:
        question = Question((Message("user", (Part("text", f"What is {id[-1]}?"),)),), parameters={"max_tokens": 64})
        body = dumps(provider.encode(Offer(MODEL), question)).encode()
        frame = provider.frame(question)
        lines.append(frame.before + id.encode() + frame.between + body + frame.after + b"\n")
    path.write_bytes(b"".join(lines))
    return path


class _Clock:
    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


def recording(server: Scripted, folder: Path, place: str) -> Recording:
    """The conversations of ``place`` with a simulator of their own behind ``server``."""
    clock = _Clock()
    folder.mkdir(parents=True)
    with Simulator(folder / "simulator", clock=clock) as simulator:
        return _record(server, simulator.url, clock, place, folder)


def _record(server: Scripted, url: str, clock: _Clock, place: str, folder: Path) -> Recording:
    provider = built(place, server.url, folder / place)
    talks: dict[str, tuple[Exchange, ...]] = {}

    @contextmanager
    def talk(name: str) -> Iterator[None]:
        heard: list[Exchange] = []

        def answer(call: Call) -> Answer:
            found = passed_on(call, url)
            heard.append(Exchange(_neutral_call(server, call), _neutral(server, found)))
            return found

        server.answer = answer
        yield
        if heard:
            talks[name] = tuple(heard)

    jobs = {name: _job(provider, folder, place, name) for name in SIZES}
    with talk("offers"):
        provider.offers()
    with talk("stage"):
        upload = provider.stage(jobs["ours"])
    ours = replace(jobs["ours"], staged=upload.marker)
    with talk("start"):
        ours = replace(ours, remote_id=provider.start(ours, upload))
    with talk("find"):
        found = provider.find(ours)
    _expect(isinstance(found, Found) or not provider.traits.finds, f"{place} does not find its task: {found}")
    with talk("check"):
        progress = provider.check(ours)
    _expect(not progress.phase.ended, f"{place}: {progress}")
    others = {name: _started(provider, jobs[name]) for name in ("next", "stopped")}
    with talk("cancel"):
        provider.cancel(others["stopped"])
    clock.ahead += 600.0
    with talk("check ended"):
        progress = provider.check(ours)
    _expect(progress.phase.ended, f"{place}: {progress}")
    with talk("find ended"):
        provider.find(replace(ours, identities=bytes.fromhex("".join(IDS[: ours.requests]))))
    with talk("results"):
        provider.results(ours, lambda _: None)
    with talk("verify"):
        provider.verify(ours, ours.remote_id)
    clock.ahead = 0.0
    return Recording(place, ours, upload, talks)


def _job(provider: Provider, folder: Path, place: str, name: str) -> Job:
    """A job whose names are its own among those of all places."""
    (folder / place).mkdir(exist_ok=True)
    number = PLACES.index(place) * 10 + list(SIZES).index(name)
    file = write_shard(provider, folder / place / f"{name}.jsonl", SIZES[name])
    return Job(
        task=f"t-{number:012x}",
        name=f"{name}-{number:016x}-1",
        model=MODEL,
        requests=SIZES[name],
        max_wait=86_400,
        file=file,
        begun_at=time.time(),
    )


def _started(provider: Provider, job: Job) -> Job:
    upload = provider.stage(job)
    return replace(job, staged=upload.marker, remote_id=provider.start(job, upload))


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise RuntimeError(f"the good conversation is none: {otherwise}")


def _neutral(server: Scripted, answer: Answer) -> Answer:
    headers = tuple((name, server.neutral(value.encode()).decode()) for name, value in answer.headers)
    return replace(answer, headers=headers, body=server.neutral(answer.body))


def _neutral_call(server: Scripted, call: Call) -> Call:
    headers = {name: server.neutral(value.encode()).decode() for name, value in call.headers.items()}
    return replace(call, headers=headers, body=server.neutral(call.body))
