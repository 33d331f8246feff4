"""What the same work costs at the least in Python: one loop without a plan, a state or a check.

``rows FILE OUT``: json.loads → format → json.dumps → sha256 → write.  ``specs FOLDER``: import the five packages of the
core and parse every spec.  Run as a script, so that it is measured as a process of its own.
"""

from __future__ import annotations

import sys


def rows(source: str, target: str) -> None:
    import hashlib
    import json

    template = "{question} Answer briefly."
    with open(source, "rb") as lines, open(target, "wb") as out:  # noqa: PTH123 - no import beyond what is measured
        for line in lines:
            row = json.loads(line)
            messages = [
                {"role": "system", "content": "You are a careful tutor."},
                {"role": "user", "content": template.format(**row)},
            ]
            body = json.dumps({"max_tokens": 64, "messages": messages, "model": "mi-9", "temperature": 0}).encode()
            out.write(b'{"custom_id": "%s", "body": %s}\n' % (hashlib.sha256(body).hexdigest()[:32].encode(), body))


def specs(folder: str) -> None:
    from pathlib import Path

    import click  # noqa: F401
    import httpx  # noqa: F401
    import jinja2  # noqa: F401
    import jsonschema  # noqa: F401
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same one that runner takes
    for path in Path(folder).glob("*.yaml"):
        yaml.load(path.read_bytes(), Loader=loader)


if __name__ == "__main__":
    rows(*sys.argv[2:]) if sys.argv[1] == "rows" else specs(*sys.argv[2:])
