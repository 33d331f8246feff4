"""What the simulated model answers: a function of the question, and of nothing else.

A question that wants JSON with a schema gets an instance of it; one whose prompt is in the answers file gets the answer
found there; any other gets a short text that repeats a few words of the question.  Neither the wire, nor the model, nor
a parameter other than the bound on the length makes a difference.
Tokens are counted as one per four characters.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from runner.errors import InvalidDocuments, Problem
from runner.simulator.fit import fit
from runner.simulator.questions import Question

CHARACTERS_PER_TOKEN = 4
IMAGE_TOKENS = 256
ECHOED_WORDS = 10
ECHOED_CHARACTERS = 80
KEY_LENGTH = 8
"""An entry of the answers file shorter than this has to be the whole message; a longer one may be part of it."""
VECTOR_LENGTH = 8
"""Numbers of a vector, where the question asks for no other number."""
REFUSAL = "I cannot help with that."

_LONG_WORD = re.compile(r"\w{4,}")
"""Shorter ones, such as "a" and "the", say little of what a text is about."""
_FINAL = re.compile(r"####\s*(.+?)\s*$")
"""GSM8K's way to mark the final answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """``text`` is what the model says, ``shown`` what becomes of it: it is told, it is a refusal, or it gets lost.

    ``tool`` names the tool that is called with the text; ``vectors`` are the answer where texts are to be embedded, to
    be written ``packed`` in base64.
    """

    text: str
    finish_reason: Literal["stop", "length"]
    input_tokens: int
    output_tokens: int
    tool: str = ""
    vectors: tuple[tuple[float, ...], ...] = ()
    packed: bool = False
    shown: Literal["told", "refused", "lost"] = "told"


class KnownAnswers:
    """True answers by question, found when the question is a message, or a part of one."""

    def __init__(self, pairs: Mapping[str, Any]) -> None:
        self._exact = dict(pairs)
        self._by_key: dict[str, list[str]] = {}
        for question in sorted(pairs, key=len, reverse=True):
            if len(question) >= KEY_LENGTH:
                self._by_key.setdefault(question[:KEY_LENGTH], []).append(question)

    @classmethod
    def read(cls, path: Path) -> KnownAnswers:
        """From JSON lines with ``prompt`` (or ``question``) and ``answer``.  Raises InvalidDocuments."""
        pairs: dict[str, Any] = {}
        problems: list[Problem] = []
        hint = 'each line is {"prompt": "…", "answer": "…"}'
        try:
            with path.open(encoding="utf-8-sig") as file:
                for number, line in enumerate(file, 1):
                    if line.strip() and (message := _add_answer(line, pairs)):
                        problems.append(Problem(str(path), number, 1, message, hint))
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
            problems.append(Problem(str(path), 1, 1, f"cannot be read: {reason}", hint))
        if problems:
            raise InvalidDocuments(problems)
        return cls(pairs)

    def find(self, message: str) -> Any:
        """The answer to the longest known question at the earliest place in ``message``, None where there is none."""
        if (exact := self._exact.get(message)) is not None:
            return exact
        if not (by_key := self._by_key):
            return None
        for start in range(len(message) - KEY_LENGTH + 1):
            for question in by_key.get(message[start : start + KEY_LENGTH], ()):
                if message.startswith(question, start):
                    return self._exact[question]
        return None


NO_ANSWERS = KnownAnswers({})


def _add_answer(line: str, pairs: dict[str, Any]) -> str | None:
    """Adds one line's pair; returns what is wrong with the line instead where something is."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return "is not JSON"
    if not isinstance(row, dict) or row.get("answer") is None:
        return "has no `answer`"
    question = row.get("prompt", row.get("question"))
    if not isinstance(question, str) or not question:
        return "has no `prompt` or `question` text"
    pairs[question] = row["answer"]
    return None


# --- answering -------------------------------------------------------------------------------------------------------


def answer(question: Question, known: KnownAnswers = NO_ANSWERS) -> Answer:
    """The answer to ``question``.  Raises ValueError when its schema cannot be met."""
    given = _tokens(question.characters) + question.images * IMAGE_TOKENS
    if question.texts:
        length = question.dimensions or VECTOR_LENGTH
        vectors = tuple(_vector(text, length) for text in question.texts)
        return Answer("", "stop", given, 0, vectors=vectors, packed=question.packed)
    seed = hashlib.sha256(question.prompt.encode("utf-8", "surrogatepass")).digest()
    text = _text(question, seed, known.find(question.prompt))
    whole = Answer(text, "stop", given, _tokens(len(text)), question.form.tool if question.form else "")
    return whole if question.most is None else shortened(whole, question.most)


def shortened(whole: Answer, most: int) -> Answer:
    """The answer, cut where it has more than ``most`` tokens."""
    if most >= whole.output_tokens:
        return whole
    return replace(whole, text=whole.text[: most * CHARACTERS_PER_TOKEN], finish_reason="length", output_tokens=most)


def halved(whole: Answer) -> Answer:
    """The answer as if a bound had stopped it half-way."""
    return shortened(replace(whole, output_tokens=whole.output_tokens + 1), max(whole.output_tokens // 2, 1))


def refused(whole: Answer) -> Answer:
    """A refusal in the answer's place."""
    return replace(whole, text=REFUSAL, finish_reason="stop", output_tokens=_tokens(len(REFUSAL)), shown="refused")


def lost(whole: Answer) -> Answer:
    """The answer, made and billed, of which nothing arrives."""
    return replace(whole, shown="lost")


def _tokens(characters: int) -> int:
    return max(1, -(-characters // CHARACTERS_PER_TOKEN))


def _text(question: Question, seed: bytes, known: Any) -> str:
    form = question.form
    if form is not None and form.schema is not None:
        return _json(_instance(form.schema, seed, known))
    if known is not None:
        return known if isinstance(known, str) else _json(known)
    words = " ".join(question.prompt[: 4 * ECHOED_CHARACTERS].split()[:ECHOED_WORDS])[:ECHOED_CHARACTERS]
    text = f"Simulated answer {int.from_bytes(seed[:2], 'big')} to: {words}"
    return text if form is None else _json({"answer": text})


def _json(value: Any) -> str:
    """Keys are sorted, since a schema in other words may hold them in another order."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _instance(schema: Any, seed: bytes, known: Any) -> Any:
    """A value that fits; a known answer is taken whole when it is data, else put where ``answer`` stands."""
    if isinstance(known, dict | list):
        return known
    value = fit(schema, seed.hex())
    if known is None or not isinstance(value, dict) or "answer" not in value:
        return value
    final = match[1] if (match := _FINAL.search(str(known))) else str(known)
    if isinstance(value["answer"], str):
        value["answer"] = final
    elif isinstance(value["answer"], int | float) and not isinstance(value["answer"], bool):
        try:
            number = float(final.replace(",", ""))
        except ValueError:
            return value
        value["answer"] = int(number) if isinstance(value["answer"], int) or number.is_integer() else number
    return value


def _vector(text: str, length: int) -> tuple[float, ...]:
    """A vector of length one, the sum of one for the text and one per long word, so that like texts are near."""
    words = [text, *_LONG_WORD.findall(text.casefold())]
    values = [sum(column) for column in zip(*[_word_vector(word, length) for word in words], strict=True)]
    norm = sum(value * value for value in values) ** 0.5 or 1.0
    return tuple(round(value / norm, 6) for value in values)


def _word_vector(word: str, length: int) -> list[float]:
    stream = hashlib.shake_128(word.encode("utf-8", "surrogatepass")).digest(length)
    return [byte - 127.5 for byte in stream]
