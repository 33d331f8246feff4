"""The failure cases of the field: what goes wrong at providers, and the ending that a user of runner sees.

Each was met by somebody with some tool.  Which tests hold a case is read from the tests themselves: a test whose
docstring names it, such as "(F01)".
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parent.parent / "tests"
_NAMED = re.compile(r"\bF(\d\d)\b")


@dataclass(frozen=True)
class Case:
    """``elsewhere``: why it cannot happen here, of a case that belongs to a provider that runner does not speak to."""

    what: str
    ending: str
    elsewhere: str = ""


CASES: dict[str, Case] = {
    "F01": Case(
        "the window closes: the task is `expired`, and yet its output file holds finished, billed rows",
        "what is there is collected and kept; the next apply asks only for the rest",
    ),
    "F02": Case(
        "`completed`, every row failed: there is an error file and no output file",
        "each row is `failed` with the provider's reason; the run ends with 7",
    ),
    "F03": Case(
        "the error file is `null`, an empty string, or a file of 0 bytes",
        "all three mean that no row failed",
    ),
    "F04": Case(
        "some rows succeed and some fail, in two files of which tools read one",
        "both are read; succeeded + failed + missing = rows, always",
    ),
    "F05": Case(
        "a rejected row stands in the output file: `error: null` beside a status of 400",
        "the row is `failed`: only a 2xx with an answer in it is a success",
    ),
    "F06": Case(
        "a row with status 200 has an empty body; a line is cut, or not UTF-8",
        "the empty row is failed and asked again; a broken line is counted, kept raw, and costs no other row",
    ),
    "F07": Case(
        "a local batch runner writes errors into the same file, without a body",
        "read like any other line: the row is `failed` with its reason",
    ),
    "F08": Case(
        "the task is made, and found invalid minutes later, with a line number",
        "the task has failed; every row says which code, which line and what to do, and is not sent again as it is",
    ),
    "F09": Case(
        "malformed rows are taken at upload and fail only once the task is made",
        "every body is built and checked by `plan`, before anything is sent",
    ),
    "F10": Case(
        "codes such as `invalid_json_line`, `model_not_found`, `duplicate_custom_id`, `empty_file`",
        "the error names the way on for each; none is retried blindly",
    ),
    "F11": Case(
        "a line's `url` and the batch's `endpoint` differ by a prefix",
        "both are made from one value of the dialect",
    ),
    "F12": Case("several models in one file are rejected", "a task holds requests for one model only"),
    "F13": Case(
        "a `custom_id` occurs twice: rejected, hung, or answered with another row's answer",
        "ids are digests of what is asked, and each is in a file once; equal rows are one request",
    ),
    "F14": Case("a file with a BOM, or in UTF-16, is rejected with a misleading message", "UTF-8, no BOM, LF, always"),
    "F15": Case(
        "the wrong file name or purpose is rejected", "the name ends in `.jsonl`; the purpose is the dialect's"
    ),
    "F16": Case(
        "the account's limit on enqueued tokens makes a task fail as a whole",
        "no failure: the task was turned away, and its requests are sent again once others have ended",
    ),
    "F17": Case("a task that has already ended is cancelled", "nothing happens, and no error is shown"),
    "F18": Case(
        "creating the so-manieth task is answered 429, far below the documented limit",
        "busy: nothing was made; `--wait` tries again, other providers go on, the state stays whole",
    ),
    "F19": Case(
        "one 429 inside a task fails all of it",
        "what was answered is kept, the rest is asked again",
    ),
    "F20": Case(
        "a gateway counts batches against its limit per minute, so that a large one is always answered 429",
        "busy, with the gateway's own words; `--timeout` ends the trying, with 8",
    ),
    "F21": Case(
        "a cancelled task leaves rows in neither file",
        "they are `missing`; `runner retry` asks for them again",
    ),
    "F22": Case("a cancelled task's finished work is thrown away", "it is collected, since it was paid"),
    "F23": Case(
        "Ctrl-C stops the client while the remote task goes on and bills",
        "exit 130 with the state whole; the same command goes on, `runner cancel` stops it",
    ),
    "F24": Case(
        "a cancel is asked for and never looked at again",
        "the task stays on its way until the provider says that it ended",
    ),
    "F25": Case(
        "the creation times out after it was accepted, and a blind retry makes a second, paid task",
        "it is looked for: found, it is adopted; surely absent, sent again; nobody can say, a person decides",
    ),
    "F26": Case("an SDK repeats the creating POST by itself", "it is sent once, over a connection of its own"),
    "F27": Case(
        "with another account's key, a task is answered 404",
        "it is not taken for lost: a warning says what to compare, and the task stays",
    ),
    "F28": Case(
        "a task exists and the list does not show it yet, or the list fails",
        "absence is believed after a grace period only, and only of a list that was read whole",
    ),
    "F29": Case("asking after a task is answered 500", "a warning; the task goes on"),
    "F30": Case(
        "on resuming, provider or model have silently become others",
        "what a task was sent with is part of the state; a new choice is a change in the plan",
    ),
    "F31": Case(
        "a second creation is refused with the running job's id in the message",
        "",
        elsewhere="only Volcengine Ark answers so, which runner does not speak to",
    ),
    "F32": Case(
        "a local batch is killed and leaves no output at all",
        "`online`: every answer is on disk before it counts; the next apply asks what was in flight, no more",
    ),
    "F33": Case(
        "a task stays pending for more than a day",
        "`wait.give_up`, by our own clock: cancelled where that can be; rows are `missing`; a late answer counts",
    ),
    "F34": Case(
        "every task expires for days, as in a service incident",
        "each request is asked `retry.attempts` times, then given up and reported",
    ),
    "F35": Case("a poll is answered 200 with `retry-after`", "the next look waits so long"),
    "F36": Case(
        "status words in other cases, or ones that nobody documented",
        "case does not matter; an unknown word means that the task goes on",
    ),
    "F37": Case(
        "one gateway maps a status in two ways", "", elsewhere="Bedrock's `Scheduled`; here each word has one entry"
    ),
    "F38": Case("counts come as text, as null, or not at all", "read as numbers where they are; never needed"),
    "F39": Case(
        "an end state is missing from a list of end states, and is waited for without end",
        "a partly finished task has ended; whatever is not known is given up by our own clock",
    ),
    "F40": Case(
        "a gateway shows a failed task as running until its deadline passes", "`wait.give_up` is our own clock"
    ),
    "F41": Case("results come in another order, even where order is promised", "matched by id, never by position"),
    "F42": Case(
        "results without the metadata that was sent inline",
        "",
        elsewhere="Gemini's inline mode; every wire here carries an id per request",
    ),
    "F43": Case(
        "a finished task cannot be fetched, as its answers are too large for one reply",
        "tasks are bounded in requests and bytes, and results are streamed to disk",
    ),
    "F44": Case(
        "a file id is longer than the file API takes", "ids are passed on as they came, and used only to download"
    ),
    "F45": Case(
        "a small task is answered without an output file",
        "a task that reports answers and names no file is an error that says so; nothing is asked again",
    ),
    "F46": Case(
        "a download ends early",
        "it goes on where it stopped; a file that is not whole is not collected",
    ),
    "F47": Case(
        "results were deleted, archived or have expired",
        "the error says that they are lost; only `runner state abandon` lets them be asked, and paid, again",
    ),
    "F48": Case(
        "a file over the limit is refused after a long upload", "requests are cut into tasks by size and number"
    ),
    "F49": Case("an upload hangs or times out", "the time allowed grows with its size; it is free, and is tried again"),
    "F50": Case(
        "a file just uploaded is not found when the task is made",
        "that refusal is tried again, a bounded number of times",
    ),
    "F51": Case(
        "a task made right after the upload fails until the file is processed", "the file's status is asked first"
    ),
    "F52": Case(
        "the account's number of files is used up",
        "refused, with the provider's words; answers that are here already are not touched",
    ),
    "F53": Case(
        "the account runs out of credit, and thousands of rows fail",
        "`online` stops asking at once; on a batch API the rows may be asked again, at most `retry.attempts` times",
    ),
    "F54": Case(
        "rows fail for what is in them, or for what happened at the server",
        "`error.retryable` tells the two apart; only the second kind is asked again",
    ),
    "F55": Case(
        "an answer is cut at its token limit, and its JSON mended silently",
        "`failed`, code `truncated`, the text kept; not asked again blindly",
    ),
    "F56": Case("an answer is a cut-off thought without any mark", "`finish_reason` is in every output line"),
    "F57": Case(
        "a response schema works online and is ignored in batches",
        "every answer is held against the schema; `apply --sample 20` asks a few rows first",
    ),
    "F58": Case("a gateway drops the finish reason", "`null` in the output; the raw line is kept"),
    "F59": Case("fewer than 100 requests are refused", "", elsewhere="a rule of Bedrock"),
    "F60": Case(
        "a 400 that never clears is sent again for ever",
        "a refusal is not retryable; anything else ends after `retry.attempts`",
    ),
    "F61": Case("a task expires before it began", "the same as F01, without a row"),
    "F62": Case("a content filter stops a row", "`failed`, not asked again"),
    "F63": Case("the provider deletes the input file by default", "it is told not to; it is never read again anyway"),
}


def holders() -> dict[str, list[str]]:
    """The tests that hold each case, as ``file::function``."""
    found: dict[str, list[str]] = {name: [] for name in CASES}
    for path in sorted(TESTS.rglob("test_*.py")):
        for function in _functions(ast.parse(path.read_text("utf-8"))):
            for number in sorted(set(_NAMED.findall(ast.get_docstring(function) or ""))):
                found[f"F{number}"].append(f"{path.relative_to(TESTS)}::{function.name}")
    return found


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"))
