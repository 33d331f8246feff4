"""What the bill, the outputs and the state say of a project whose life is over.  Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

AT_REST = ("collected", "void", "abandoned")
"""Phases of a task with which nothing more will happen."""


def phase_of(task: Mapping[str, Any]) -> str:
    """The document leaves out what is as it is at first."""
    return str(task.get("phase", "begun"))


@dataclass(frozen=True)
class Evidence:
    """``asked``: by spec, the questions of its rows in their order.  ``outputs``: the lines of each spec's output.

    ``bill``: each request that the provider accepted, as its bill has them; ``state``: the document of the store.
    """

    asked: Mapping[str, Sequence[str]]
    outputs: Mapping[str, Sequence[Mapping[str, Any]]]
    bill: Sequence[Mapping[str, Any]]
    state: Mapping[str, Any]
    online: bool = False


@dataclass(frozen=True)
class Verdict:
    """``duplicates``: requests paid more often than once.  ``lost``: rows without their answer, and paid tasks that the
    state does not know.  ``again``: questions to an endpoint without batches that were asked again."""

    duplicates: int = 0
    lost: int = 0
    again: int = 0
    breaches: tuple[str, ...] = field(default=())
    """Each in a sentence."""


def judge(evidence: Evidence) -> Verdict:
    times = Counter((entry["custom_id"], entry["digest"]) for entry in evidence.bill if entry["billed"])
    beyond = sum(times.values()) - len(times)
    expected = len({question for questions in evidence.asked.values() for question in questions})
    lost = [*_unanswered(evidence), *_orphans(evidence)]
    breaches = list(lost)
    duplicates = 0 if evidence.online else beyond
    if duplicates:
        breaches.append(f"{duplicates} requests were paid more than once")
    if len(times) != expected:
        breaches.append(f"{len(times)} different requests were paid, not {expected}")
    breaches += [
        f"the task {id} is left {phase_of(task)}"
        for id, task in evidence.state.get("tasks", {}).items()
        if phase_of(task) not in AT_REST
    ]
    return Verdict(duplicates, len(lost), beyond if evidence.online else 0, tuple(breaches))


def _unanswered(evidence: Evidence) -> list[str]:
    found = []
    for spec, questions in evidence.asked.items():
        lines = evidence.outputs.get(spec, ())
        if len(lines) != len(questions):
            found.append(f"the output of {spec} has {len(lines)} lines, not {len(questions)}")
        for line, question in zip(lines, questions, strict=False):
            if line["status"] != "succeeded":
                found.append(f"{spec}: {question!r} is {line['status']}")
            elif not str(line["text"]).endswith(f"to: {question}"):
                found.append(f"{spec}: {question!r} has the answer to something else")
    return found


def _orphans(evidence: Evidence) -> list[str]:
    known = {task.get("remote_id") for task in evidence.state.get("tasks", {}).values()}
    paid = {entry["task"] for entry in evidence.bill if entry["billed"]} - {None}
    return [f"the paid task {task} is not in the state" for task in sorted(paid - known)]
