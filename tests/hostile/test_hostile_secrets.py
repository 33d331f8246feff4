"""A provider that repeats the key: what is told of its reply, in whichever spelling, holds no run of it.

Hidden are runs of eight characters, plain, percent-encoded in any way, or with characters spelt as JSON escapes where
the reply is parsed; and the usual masked forms.  Not promised: a key turned into something else, such as base64, hex,
reversed or cut into shorter pieces.  No list of such spellings has an end, and who can compute them has the key.
"""

from __future__ import annotations

import json
from urllib.parse import quote, quote_plus

import pytest

from runner.edge.secrets import HIDDEN, Scrubber
from runner.errors import RunnerError
from runner.report.text import error_lines

KEY = "wq-3f9Zk/Qx+7Lm=81aa&Tt0"

SPELLINGS = {
    "plain": KEY,
    "in a sentence": f"the key {KEY}, given as a header, is unknown",
    "as a header": f"Authorization: Bearer {KEY}",
    "twice": f"{KEY}{KEY}",
    "without its beginning": KEY[3:],
    "without its end": KEY[:-4],
    "its middle": KEY[6:16],
    "in a URL": f"https://x.example/?key={quote(KEY)}&k={quote_plus(KEY)}",
    "every byte encoded": "".join(f"%{ord(char):02X}" for char in KEY),
    "cut by a line": f"{KEY[:12]}\n{KEY[12:]}",
    "cut by a colour": f"{KEY[:12]}\x1b[0m{KEY[12:]}",
    "in JSON": json.dumps({"error": {"key": KEY}}),
    "in JSON in JSON": json.dumps(json.dumps({"key": KEY})),
    "masked": f"{KEY[:5]}****{KEY[-4:]}",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_no_run_of_it_is_told(spelling: str) -> None:
    """Neither in a message nor in what becomes of it on a terminal, where control characters are dropped."""
    scrub = Scrubber()
    scrub.hide(KEY)
    told = "\n".join(error_lines(RunnerError(scrub(SPELLINGS[spelling]))))
    assert HIDDEN in told
    runs = {KEY[at : at + 8] for at in range(len(KEY) - 7)} | {quote(KEY, safe="")[at : at + 8] for at in range(9)}
    assert not [run for run in runs if run in told], told
