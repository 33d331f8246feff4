"""Write `incidents.jsonl.gz`: invented incident reports of 1,500 words and more, each with what a reader should find.

``python specs/data/make_incidents.py`` writes the same bytes of JSON every time.  No company, service or person in them
exists.  The facts of a report stand once each, far apart, among sentences that say nothing of them.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

REPORTS = 20
FILE = Path(__file__).parent / "incidents.jsonl.gz"

SERVICES = ("the order intake", "the label printer pool", "the price feed", "the sign-in page", "the image store")
TEAMS = ("Harbour", "Lantern", "Meadow", "Quarry", "Orchard")
DETECTED = {
    "alert": "The first sign was an alert on the rate of errors, which woke the engineer on call.",
    "customer": "The first sign was a customer who wrote to support; no alert had gone off by then.",
    "colleague": "The first sign was a colleague who saw the dashboard by chance on the way to another meeting.",
}
SEVERITIES = {"minor": "It was rated minor.", "major": "It was rated major.", "critical": "It was rated critical."}
CAUSES = (
    ("a certificate that had expired", "The certificate of the internal proxy had expired at midnight."),
    ("a full disk", "The disk of the journal had filled up, since old segments were never removed."),
    (
        "a wrong time zone in a schedule",
        "The nightly job ran at noon, because its schedule was read in another time zone.",
    ),
    ("a query without an index", "A new report asked the largest table for a column that has no index."),
    ("a retry without a pause", "A client asked again at once and without end whenever it was turned away."),
    ("a configuration of the test system", "The configuration of the test system had been copied to production whole."),
    ("a limit on open connections", "The pool allowed forty connections, and the new release needed sixty."),
    ("a library that was upgraded by accident", "The build had taken a newer library than the one that was tested."),
)
ACTIONS = (
    "Warn thirty days before any certificate expires",
    "Remove journal segments that are older than a week",
    "Write all schedules in UTC",
    "Check every new query against a copy of the largest tables",
    "Let clients wait longer after each refusal",
    "Keep the settings of the test system in a folder of their own",
    "Alert at eighty percent of any pool",
    "Build from the lock file only",
    "Rehearse the switch to the second site every quarter",
    "Show the age of the last successful run on the dashboard",
)
BACKGROUND = (
    "The service was built four years ago for a tenth of today's load, and has been moved twice since.",
    "It takes messages from three systems, brings them into one shape, and hands them on in the order of arrival.",
    "A second site stands by and holds a copy of all data, though nobody had switched to it outside of an exercise.",
    "Two releases had gone out in the week before, neither of which touched the part of the system described here.",
    "Its owners share a rota with a neighbouring team, so that whoever is on call may know one of the two better.",
    "Documentation was last revised in spring, when the storage layer was replaced and the old runbook was archived.",
    "The load follows the day: it rises at seven, stays level until the afternoon, and falls to almost nothing by ten.",
    "Dependencies are listed in the service catalogue, with an exception that this report comes back to further below.",
)
STEPS = (
    "The dashboard was opened and compared with the same hour of the week before, and no clear difference was seen.",
    "A restart of one of the six workers was tried, which helped for about a minute and then no longer.",
    "The team looked at the network first, because a similar picture in winter had come from a faulty switch.",
    "Logs of the gateway were collected and searched for the identifiers that support had passed on.",
    "A colleague from the neighbouring team joined the call and recalled a like case from two years ago.",
    "Traffic of the smallest region was sent elsewhere as a trial, and the region recovered within a few minutes.",
    "The status page was updated with a sentence that said what was known, and promised another one in half an hour.",
    "The last release was rolled back as a precaution, although nothing pointed at it, and nothing changed.",
    "A query that had been running for a long time was ended by hand, after its owner had agreed to that.",
    "The number of workers was doubled, which moved the queue from one place to another and did not make it shorter.",
    "Support reported that callers were patient and mostly wanted to know whether anything of theirs was lost.",
    "A copy of the data was checked against the original, and the two agreed to the last row.",
    "The call was handed to a fresh pair of engineers, with a written summary of what had been ruled out by then.",
    "A theory about memory was followed for a while and dropped when the graphs of another site showed the same shape.",
    "The vendor of the storage was asked by phone, and answered that all was well on their side.",
    "Somebody noticed that the errors came in waves of exactly the same length, which no human user would cause.",
    "The alerts of downstream systems were silenced for an hour, so that the important ones could be seen.",
    "A small change was tried in the test system, where the fault could be provoked at will from then on.",
    "The second site was looked at as a way out, and was found to run on the same settings and so to suffer as well.",
    "One of the partners was asked to send less for a while, agreed at once, and kept to it until the next morning.",
    "A list of all that had changed within the last day was drawn up, and each entry was crossed out with its reason.",
)
ANALYSIS = (
    "What happened was in the end simple, and took so long to find because three other things looked more likely.",
    "Nothing in the design would have prevented it, and nothing in the tests could have shown it, as both stand today.",
    "The monitoring looked at averages, and an average over six workers hides the one that has stopped.",
    "Each part behaved as documented; it was how two of them were put together that nobody had written down.",
    "The rollback cost twenty minutes, and would have been worth it if the cause had been what most people expected.",
    "It was luck that the load was low: at the peak of the day the queue would have overflowed within minutes.",
    "Those who knew the oldest part of the system had moved to other teams, and were reached by way of their new ones.",
    "The runbook named a tool that no longer exists, and the engineer on call found its successor by asking around.",
)
DISCUSSION = (
    "The handover in the middle of the call went well, because the summary was short and said what was not known, too.",
    "Everybody who was asked for help came at once, and nobody asked whose fault it was.",
    "Customers were told the truth early, and several wrote afterwards that they had appreciated it.",
    "Decisions were taken in the open channel, so that this report could be written without asking anybody twice.",
    "The exercise of last autumn paid off: the switch of the small region was done from memory.",
    "Less good was that two people worked on the same theory for half an hour without knowing of each other.",
    "It was unclear for a long time who may decide to switch to the second site, and therefore nobody did.",
    "The graphs that mattered were on a dashboard that only one team had open, and its link was not in the runbook.",
)
CLOSING = (
    "This report was read by both teams before it was published, and their remarks are part of the text.",
    "Figures are taken from the logs and were rounded to whole minutes.",
    "Times are local to the main site.",
    "Questions go to the channel of the owning team, where the raw notes are pinned.",
)


@dataclass(frozen=True)
class Facts:
    """What the report says, each of it once."""

    report: str
    service: str
    team: str
    begun: datetime
    minutes: int
    detected_by: str
    severity: str
    cause: tuple[str, str]
    customers: int
    actions: tuple[tuple[str, str], ...]

    def answer(self) -> dict[str, Any]:
        """What an extraction should come to."""
        return {
            "service": self.service,
            "started_at": self.begun.isoformat(sep=" ", timespec="minutes"),
            "duration_minutes": self.minutes,
            "detected_by": self.detected_by,
            "severity": self.severity,
            "root_cause": self.cause[0],
            "customers_affected": self.customers,
            "actions": [{"what": what, "owner": owner} for what, owner in self.actions],
        }


def facts(number: int, chance: random.Random) -> Facts:
    begun = datetime(2031, 1, 6) + timedelta(days=17 * number, minutes=chance.randrange(24 * 60))
    what = shuffled(ACTIONS, chance)[: chance.randrange(2, 5)]
    return Facts(
        report=f"{begun:%Y}-{number:03}",
        service=chance.choice(SERVICES),
        team=chance.choice(TEAMS),
        begun=begun,
        minutes=chance.randrange(23, 300),
        detected_by=chance.choice(tuple(DETECTED)),
        severity=chance.choice(tuple(SEVERITIES)),
        cause=chance.choice(CAUSES),
        customers=chance.randrange(3, 900),
        actions=tuple((one, chance.choice(TEAMS)) for one in what),
    )


def shuffled(pool: tuple[str, ...], chance: random.Random) -> list[str]:
    copy = list(pool)
    chance.shuffle(copy)
    return copy


def timeline(known: Facts, chance: random.Random) -> Iterator[str]:
    """Some forty entries; the moment in which it was over is the last of them."""
    steps = [*shuffled(STEPS, chance), *shuffled(STEPS, chance)]
    for at, step in enumerate(steps, start=1):
        moment = known.begun + timedelta(minutes=known.minutes * at // (len(steps) + 1))
        again = "" if at <= len(STEPS) else "Once more: "
        yield f"{moment:%H:%M}  {again}{step}"
    over = known.begun + timedelta(minutes=known.minutes)
    yield f"{over:%H:%M}  The last error was seen, {known.minutes} minutes after the first."


def text_of(known: Facts, chance: random.Random) -> str:
    def some(pool: tuple[str, ...], more: str = "") -> str:
        sentences = shuffled(pool, chance)
        if more:
            sentences.insert(len(sentences) // 2, more)
        return " ".join(sentences)

    hit = f"By the count of support, {known.customers} customers were affected."
    begun = f"The first error was logged on {known.begun:%d %B %Y} at {known.begun:%H:%M}."
    owners = "\n".join(f"- {what}. Owner: team {owner}." for what, owner in known.actions)
    parts = (
        f"Incident report {known.report}\nAbout: {known.service}. Written by team {known.team}.",
        f"Background\n{some(BACKGROUND, begun)}",
        f"How it was noticed\n{DETECTED[known.detected_by]} {SEVERITIES[known.severity]}",
        "Timeline\n" + "\n".join(timeline(known, chance)),
        f"Analysis\n{some(ANALYSIS, known.cause[1])}",
        f"Discussion\n{some(DISCUSSION, hit)}",
        f"What will be done\n{owners}",
        f"Remarks\n{some(CLOSING)}",
    )
    return "\n\n".join(parts)


def rows() -> Iterator[dict[str, Any]]:
    for number in range(1, REPORTS + 1):
        chance = random.Random(number)  # noqa: S311 - the same every time is what it is for
        known = facts(number, chance)
        yield {"report": known.report, "text": text_of(known, chance), "expected": known.answer()}


def main() -> None:
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows())
    FILE.write_bytes(gzip.compress(lines.encode(), mtime=0))


if __name__ == "__main__":
    main()
