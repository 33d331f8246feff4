"""Which pull request a `workflow_run` event is about, as the step output ``number``.

Nothing that the pull request's code wrote has a say in it: the event and GitHub's own list are all that is read.  The
event names no pull request where the branch lies in a fork, so the open one whose head is this branch at this very
commit is looked for.  After a newer push there is none, and the newer run has the word.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

SECONDS = 30


def query(run: dict[str, Any]) -> str:
    """What to ask the list of pull requests for."""
    owner = run["head_repository"]["owner"]["login"]
    return urlencode({"state": "open", "per_page": 100, "head": f"{owner}:{run['head_branch']}"})


def numbers(run: dict[str, Any], pulls: list[dict[str, Any]]) -> list[int]:
    """Of ``pulls``, those whose head is what ``run`` ran on."""
    wanted = (run["head_sha"], run["head_repository"]["id"])
    return [pull["number"] for pull in pulls if (pull["head"]["sha"], (pull["head"]["repo"] or {}).get("id")) == wanted]


def main() -> int:
    run = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_text("utf-8"))["workflow_run"]
    if not run.get("head_repository") or not run.get("head_branch"):
        print("The fork or the branch is gone: no comment.")
        return 0
    repository = os.environ["GITHUB_REPOSITORY"]
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        print("::error::GITHUB_REPOSITORY is no OWNER/NAME")
        return 1
    request = Request(  # noqa: S310 - the address is GitHub's own
        f"{os.environ['GITHUB_API_URL']}/repos/{repository}/pulls?{query(run)}",
        headers={
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {os.environ['GITHUB_TOKEN']}",
            "X-GitHub-Api-Version": "2022-11-28",
        },
    )
    with urlopen(request, timeout=SECONDS) as reply:  # noqa: S310
        found = numbers(run, json.load(reply))
    if len(found) != 1 or not isinstance(found[0], int):
        print(f"{len(found)} open pull requests have this commit as their head: no comment")
        return 0
    with Path(os.environ["GITHUB_OUTPUT"]).open("a", encoding="utf-8") as outputs:
        outputs.write(f"number={found[0]}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
