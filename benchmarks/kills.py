"""Real processes, really killed, while somebody reads the state.

``python -m benchmarks.kills --kills 500 --seed 1``

`runner apply` runs as a user runs it, against `runner simulate` in a process of its own, and gets SIGKILL, SIGTERM or
SIGINT at a moment that the seed decides; each time there are some more rows to be asked, beside what the run before it
left undone.  A reader looks at the state all the while.  After a few such runs the project is left alone: the next
applies have to finish by themselves, but for starts that nobody can look up, which are settled by the commands that
apply prints, and to take along the files that nobody finished.  The simulator's bill is the judge.  Takes about ten
minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.faults.places import CONCURRENCY, ONLINE, TAGLESS, provider
from benchmarks.faults.project import write_project
from benchmarks.faults.verdict import Evidence, judge, phase_of
from benchmarks.processes import PATIENCE, Ended, Server, age, jsonl, run, serving, start
from runner.edge.files import TEMPORARY

PLACES = ("simulator", "wanqing", "openai-openai", "anthropic", "qianfan", "online")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
EACH = 5
"""Kills in the life of one project."""
MORE = 6
"""Questions that each run finds beside those that were there."""
LATENCY = 0.25
SLOW = tuple({"on": call, "do": "latency", "seconds": LATENCY} for call in ("upload", "create", "download", "chat"))
"""What the simulator takes its time with, so that kills hit all stages of a run."""
LENGTH = 3.0
"""Seconds within which a run is hit: those of an undisturbed one on a machine of middling speed."""
ROUNDS = 20
LATER = 172_800.0
"""Seconds after which nobody is writing a file any more."""
INTERRUPTED = 130


@dataclass
class Life:
    """What one project has come to."""

    place: str
    seed: str
    kills: Counter[str] = field(default_factory=Counter)
    """By signal, those that hit a living process."""
    phases: Counter[str] = field(default_factory=Counter)
    """Where the tasks stood when it was hit."""
    reads: int = 0
    torn: int = 0
    unreadable: int = 0
    """Runs after which the state could not be read."""
    unfinished: int = 0
    """Files that were being written when a process was killed, and were taken along later."""
    operated: int = 0
    again: int = 0
    duplicates: int = 0
    lost: int = 0
    breaches: list[str] = field(default_factory=list)


class Reader(threading.Thread):
    """Reads the state as fast as it can, and never wants to see half of one, or an older one than before."""

    def __init__(self, state: Path, life: Life) -> None:
        super().__init__(daemon=True)
        self._state, self._life = state, life
        self._over = threading.Event()

    def run(self) -> None:
        serial = 0
        while not self._over.wait(0.002):
            try:
                document = json.loads(self._state.read_bytes())
            except FileNotFoundError:
                continue
            except ValueError:
                self._life.torn += 1
                continue
            self._life.reads += 1
            if document["serial"] < serial:
                self._life.breaches.append(f"the state went back from serial {serial} to {document['serial']}")
            serial = document["serial"]

    def __enter__(self) -> Reader:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


class Play:
    """One project, killed now and then, and left alone in the end."""

    def __init__(self, folder: Path, server: Server, life: Life) -> None:
        self._root, self._server, self._life = folder / "project", server, life
        self._chance = random.Random(life.seed)
        self._asked: list[str] = []
        write_project(self._root, provider(life.place, server.url), {"alpha": ()})

    def play(self) -> None:
        state = self._root / ".runner/state.json"
        with Reader(state, self._life):
            for _ in range(EACH):
                self._ask_more(MORE)
                self._disturb()
                if self._state() is None and state.exists():
                    self._life.unreadable += 1
            self._recover()
            self._tidy()
        verdict = judge(
            Evidence(
                {"alpha": self._asked}, self._outputs(), self._server.requests(), self._state() or {}, self._online
            )
        )
        life = self._life
        life.duplicates, life.lost, life.again = verdict.duplicates, verdict.lost, verdict.again
        life.breaches += verdict.breaches
        if life.again > (allowed := CONCURRENCY * sum(life.kills.values())):
            life.breaches.append(f"{life.again} questions were asked again, not {allowed} at most")

    def _ask_more(self, count: int) -> None:
        self._asked += (f"question {number}?" for number in range(len(self._asked), len(self._asked) + count))
        rows = "".join(f"{json.dumps({'q': question})}\n" for question in self._asked)
        (self._root / "specs/alpha.jsonl").write_text(rows)

    def _disturb(self) -> None:
        args = ["apply", "--yes", *(["--wait"] if self._chance.random() < 0.8 else [])]
        number, moment = self._chance.choice(SIGNALS), self._chance.uniform(0.2, LENGTH)
        asked, kept = self._questions(), self._kept()
        process = start(*args, cwd=self._root)
        try:
            out, err = process.communicate(timeout=moment)
        except subprocess.TimeoutExpired:
            phases = [phase_of(task) for task in (self._state() or {"tasks": {}})["tasks"].values()]
            process.send_signal(number)
            out, err = process.communicate(timeout=PATIENCE)
            self._life.kills[number.name] += 1
            self._life.phases.update(set(phases) or {"nothing"})
            self._check_signal(number, Ended(process.returncode, out, err))
        else:
            self._check(Ended(process.returncode, out, err))
        self._check_questions(asked, kept)

    def _check_signal(self, number: signal.Signals, ended: Ended) -> None:
        """A signal that asks is obeyed in good order, unless it came before Python was there, or after all."""
        if number is signal.SIGKILL:
            return
        if ended.code == INTERRUPTED:
            if "goes on from here" not in ended.err:
                self._life.breaches.append(f"{number.name} got no word on how to go on: {ended.err}")
        elif ended.code not in (0, 7, -number):
            self._life.breaches.append(f"{number.name} ended with {ended.code}: {ended.err}")

    def _check(self, ended: Ended) -> None:
        if ended.code not in (0, 7) or "Traceback" in ended.out + ended.err:
            self._life.breaches.append(f"a run ended with {ended.code}: {ended.out}{ended.err}")

    def _recover(self) -> None:
        for _ in range(ROUNDS):
            age(self._root)
            ended = self._run("apply", "--yes", "--wait")
            self._check(ended)
            for task in dict.fromkeys(re.findall(r"^ +runner state abandon (\S+)$", ended.out, re.MULTILINE)):
                self._operate(task)
            if ended.code == 0 and "Nothing to do" in ended.out:
                return
        self._life.breaches.append(f"not quiet after {ROUNDS} applies")

    def _tidy(self) -> None:
        """Two days later there is one more row; with the run that asks it goes what was never finished."""
        left = self._unfinished()
        for path in left:
            os.utime(path, (time.time() - LATER,) * 2)
        self._ask_more(1)
        self._check(self._run("apply", "--yes", "--wait"))
        self._life.unfinished += len(left)
        if still := self._unfinished():
            self._life.breaches.append(f"nobody takes along {', '.join(path.name for path in still)}")

    def _unfinished(self) -> list[Path]:
        return [*self._root.rglob(f"{TEMPORARY}*")]

    def _operate(self, task: str) -> None:
        """As a careful person: a look at the console, then one of the two commands."""
        if self._life.place not in TAGLESS:
            self._life.breaches.append(f"the start of {task} was left to a person")
        self._life.operated += 1
        name = json.loads(self._run("state", "show", task).out)["name"]
        made = [billed["task"] for billed in self._server.bill()["tasks"] if billed["name"] == name]
        answer = ("adopt", task, made[0]) if made else ("abandon", task)
        if (done := self._run("state", *answer)).code:
            self._life.breaches.append(f"state {' '.join(answer)} ended with {done.code}: {done.err}")

    def _run(self, *args: str) -> Ended:
        return run(*args, cwd=self._root)

    @property
    def _online(self) -> bool:
        return self._life.place in ONLINE

    def _state(self) -> Any:
        try:
            return json.loads((self._root / ".runner/state.json").read_bytes())
        except (FileNotFoundError, ValueError):
            return None

    def _outputs(self) -> dict[str, list[Any]]:
        path = self._root / "outputs/alpha.jsonl"
        return {"alpha": jsonl(path)} if path.exists() else {}

    def _questions(self) -> int:
        """Single questions so far; those of a killed run that are still on their way are waited for."""
        seen, now = -1, int(self._server.bill()["online"]["requests"])
        while self._online and now != seen:
            time.sleep(2 * LATENCY)
            seen, now = now, int(self._server.bill()["online"]["requests"])
        return now

    def _kept(self) -> int:
        """Answers to single questions that are on disk."""
        if not self._online:
            return 0
        kept = 0
        for id, task in (self._state() or {"tasks": {}})["tasks"].items():
            answers = self._root / ".runner/online/it" / id / "answers.jsonl"
            if phase_of(task) == "collected":
                kept += task["requests"]
            elif answers.exists():
                kept += len({line["custom_id"] for line in jsonl(answers) if line["ok"]})
        return kept

    def _check_questions(self, asked: int, kept: int) -> None:
        if self._online and (now := self._questions() - asked) > (most := len(self._asked) - kept):
            self._life.breaches.append(f"a run asked {now} questions where {most} at most were without an answer")


def live(place: str, seed: str) -> Life:
    life = Life(place, seed)
    with tempfile.TemporaryDirectory(prefix="kills-") as name, serving(Path(name) / "server", SLOW) as server:
        try:
            Play(Path(name), server, life).play()
        except (OSError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
            life.breaches.append(f"it could not be played to its end: {error!r}")
    return life


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=500, help="go on until so many living processes were hit")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--replay", metavar="PLACE/SEED", help="one project alone, as a failing one is printed")
    options = parser.parse_args()
    if options.replay:
        place, _, seed = options.replay.partition("/")
        return _report([live(place, seed)])
    return _report(_lives(options.kills, options.seed, options.jobs))


def _lives(kills: int, seed: int, jobs: int) -> list[Life]:
    """As many as it takes, a few at a time."""
    lives: list[Life] = []
    with ThreadPoolExecutor(jobs) as pool:
        while (done := sum(sum(life.kills.values()) for life in lives)) < kills:
            begun = len(lives)
            wave = [(PLACES[at % len(PLACES)], f"{seed}-{at}") for at in range(begun, begun + 2 * jobs)]
            lives += pool.map(lambda one: live(*one), wave)
            print(f"{done} of {kills} kills", file=sys.stderr, flush=True)
    return lives


def _report(lives: Sequence[Life]) -> int:
    kills = sum((life.kills for life in lives), Counter[str]())
    phases = sum((life.phases for life in lives), Counter[str]())
    for place in PLACES:
        of = [life for life in lives if life.place == place]
        hit = sum(sum(life.kills.values()) for life in of)
        print(
            f"{place:<16} kills {hit:>4}, unresolved {sum(life.operated for life in of):>3}, "
            f"asked again {sum(life.again for life in of):>3}, duplicates {sum(life.duplicates for life in of)}, "
            f"lost {sum(life.lost for life in of)}"
        )
    print(f"files left unfinished by a kill, and taken along later: {sum(life.unfinished for life in lives)}")
    print("signals: " + ", ".join(f"{name} {count}" for name, count in sorted(kills.items())))
    print("hit while tasks were: " + ", ".join(f"{phase} {count}" for phase, count in phases.most_common()))
    broken = [life for life in lives if life.breaches]
    for life in broken[:10]:
        replay = f"python -m benchmarks.kills --replay {shlex.quote(f'{life.place}/{life.seed}')}"
        print(f"\n{'; '.join(life.breaches)}\n    {replay}")
    print(
        f"kills {sum(kills.values())}, reads {sum(life.reads for life in lives)}, "
        f"unreadable states {sum(life.unreadable for life in lives)}, torn reads {sum(life.torn for life in lives)}, "
        f"duplicates {sum(life.duplicates for life in lives)}, lost {sum(life.lost for life in lives)}, "
        f"broken promises {len(broken)}"
    )
    return 1 if broken or any(life.torn or life.unreadable for life in lives) else 0


if __name__ == "__main__":
    sys.exit(main())
