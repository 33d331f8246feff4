"""How many tokens a text comes to, guessed from its length alone.

No tokenizer is asked: each model has its own, and they are large.  A character within ASCII counts as 1/4.7 token (what
English prose comes to), any other as 1/1.5 (what Chinese comes to with a present-day vocabulary), every one of those
taken to be three bytes of UTF-8.  Text of other kinds strays from this: random letters take about twice as many
tokens, and an older vocabulary nearly twice as many for Chinese.
"""

from __future__ import annotations


def tokens(chars: int, nbytes: int) -> int:
    """The estimate for a text of ``chars`` characters and ``nbytes`` bytes of UTF-8, rounded up."""
    # With n = (nbytes - chars) / 2 characters outside ASCII: (chars - n) / 4.7 + n / 1.5, brought to whole numbers.
    return -((2 * chars - 32 * nbytes) // 141)


def least_tokens(chars: int, nbytes: int) -> int:
    """Fewer tokens than any ordinary text of this length takes: what an error may be built on.

    8 characters a token within ASCII, 5 in two-byte scripts, 4 in three-byte ones.  Only page upon page of blanks or
    rules comes to less.
    """
    return (chars + nbytes) // 16
