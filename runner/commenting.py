"""Keep one comment on a pull request that says what a saved plan would do.

The plan is whatever a file says: it may come from the pull request of somebody who means harm.  Only what
:func:`read_review` lets through is looked at, and the comment's every word is made here.
"""

from __future__ import annotations

import json
from pathlib import Path

from runner.edge.github import Comment, GitHub
from runner.errors import RunnerError, Unsure
from runner.report.markdown import marker, plan_markdown
from runner.review import Misshapen, Review, read_review

LARGEST = 32_000_000
"""Bytes of a saved plan."""


def read_plan(path: Path) -> Review:
    """The review in the file of a saved plan, which nobody vouches for.  Raises RunnerError."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise Misshapen(f"it is larger than {LARGEST:,} bytes")
        return read_review(json.loads(data))
    except OSError as error:
        raise RunnerError(f"the plan {path} cannot be read: {error.strerror}", code="plan-unreadable") from None
    except Misshapen as error:
        raise _no_plan(path, str(error)) from None
    except (ValueError, RecursionError):
        raise _no_plan(path, "it is not JSON") from None


def _no_plan(path: Path, why: str) -> RunnerError:
    return RunnerError(
        f"{path} is not a plan that this version of runner saved: {why}",
        commands=["runner plan --out FILE"],
        code="plan-unreadable",
    )


def keep_comment(github: GitHub, number: int, review: Review) -> tuple[str, str]:
    """Write the comment, or bring it up to date: what was done ("wrote", "updated", "kept"), and its address.

    Without changes there is nothing to say, unless a comment says otherwise.  Two runs at once may have written one
    each, so that all that there are are brought up to date.
    """
    text = plan_markdown(review)
    ours = _ours(github, number, marker(review.project))
    if ours:
        stale = [comment for comment in ours if _told(comment.body) != _told(text)]
        for comment in stale:
            github.update(comment, text)
        return "updated" if stale else "kept", ours[0].url
    if not review.has_changes and not review.over:
        return "kept", ""
    try:
        return "wrote", github.create(number, text).url
    except Unsure as error:
        error.hint = "Whether the comment was written is not known: the same command again finds it, or writes it."
        raise


def _ours(github: GitHub, number: int, mark: str) -> list[Comment]:
    """The comments that begin with the marker and were written by the account whose token we have."""
    marked = [comment for comment in github.comments(number) if comment.body.splitlines()[:1] == [mark]]
    if not marked:
        return []
    account = github.account()
    return [comment for comment in marked if comment.author == account]


def _told(body: str) -> str:
    """A comment's text without what a server may do to its line ends."""
    return body.replace("\r\n", "\n").strip()
