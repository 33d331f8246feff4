"""The words that a row is found by.  ``assets/search.js`` takes a query apart in the same way."""

from __future__ import annotations

import re
import unicodedata

LONGEST = 32
"""Characters of a word that count."""
SEARCHED = 50_000
"""Characters of each text that are searched."""

_JOINED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
"""Scripts that put no spaces between words, or fewer than there are words."""
_JOINED += "\U00020000-\U0003ffff"
_RUN = re.compile(f"([{_JOINED}]+)|((?:(?![{_JOINED}])[^\\W_])+)")
_PLAIN = re.compile("[a-z0-9]+")


def words(text: str) -> set[str]:
    """Runs of letters and digits in lower case; of scripts without spaces, each character with the one after it."""
    text = text[:SEARCHED]
    if text.isascii():
        return {word[:LONGEST] for word in _PLAIN.findall(text.lower())}
    found: set[str] = set()
    for joined, word in _RUN.findall(unicodedata.normalize("NFKC", text).lower()):
        if word:
            found.add(word[:LONGEST])
        else:
            found.update(joined[at : at + 2] for at in range(len(joined)))
    return found


def order(word: str) -> bytes:
    """Words sorted by this stand as a browser sorts them."""
    return word.encode("utf-16-be")
