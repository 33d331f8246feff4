"""Data files: scripts that hand one JSON value to the page, since a page from a disk may load nothing else."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

_UNSAFE = re.compile("[<\u2028\u2029\ud800-\udfff]")
"""What would end a script, a line of one, or a file's encoding.  In JSON each of them stands in a text only."""


class File(NamedTuple):
    """A file of the site.  ``path`` is relative to its folder, with forward slashes."""

    path: str
    data: bytes


def data_file(name: str, value: Any) -> File:
    """``data/NAME.js``, which hands ``value`` to `Report.take`.

    No key of a mapping in ``value`` may come from elsewhere: in a script, `__proto__` is no key like others.
    """
    return File(f"data/{name}.js", f"Report.take({script_json(name)},{script_json(value)});\n".encode())


def script_json(value: Any) -> str:
    """JSON that is a script, too, and means the same there."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
