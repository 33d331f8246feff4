"""Write `gallery_answers.jsonl`: what the simulator is told to answer to the specs of `specs/gallery/`.

``python specs/data/make_answers.py``.  The answers are the columns of the data that a spec's prompt does not show.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
FILE = FOLDER / "gallery_answers.jsonl"
VERDICT = {"score": 5, "reason": "It says the same in the same tone."}


def table(name: str, delimiter: str = ",") -> list[dict[str, str]]:
    with (FOLDER / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def answers() -> Iterator[tuple[str, Any]]:
    """What stands in a message, and what to answer to it."""
    for ticket in table("tickets.csv"):
        yield ticket["text"], {"category": ticket["category"], "urgency": ticket["urgency"]}
    for phrase in table("phrases.tsv", "\t"):
        for language in ("chinese", "german"):
            yield f"{language.capitalize()}: {phrase['text']}", phrase[language]
            yield f"English: {phrase['text']}\nTranslation: {phrase[language]}", VERDICT
    for image in json.loads((FOLDER / "images.json").read_text("utf-8")):
        yield image["context"], image["caption"]
    with gzip.open(FOLDER / "incidents.jsonl.gz", "rt", encoding="utf-8") as file:
        for row in map(json.loads, file):
            yield f"Incident report {row['report']}", row["expected"]


def main() -> None:
    lines = (json.dumps({"prompt": prompt, "answer": answer}, ensure_ascii=False) for prompt, answer in answers())
    FILE.write_text("".join(f"{line}\n" for line in lines), "utf-8")


if __name__ == "__main__":
    main()
