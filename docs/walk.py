"""Walk through a page: run every command of its `console` blocks, in order, and hold what is printed against the page.

``python docs/walk.py docs/tutorial.md`` shows what differs, and with ``--rewrite`` puts what was printed into the page.

A page is walked in one empty folder.  A block after ``<!-- write: PATH -->`` is written to that file there.  In what a
command is said to print, ``…`` stands for any text within a line, and a line of it alone for any number of lines.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

_BLOCK = re.compile(
    r"^(?P<indent> *)(?:<!-- write: (?P<file>\S+) -->\n\s*)?```(?P<kind>\w+)\n(?P<body>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Command:
    """One line after ``$``, and what the page says that it prints."""

    line: str
    said: str

    def prints(self, text: str) -> bool:
        """Whether ``text`` is what the page says."""
        lines = (r"(?:.*\n)*?" if line.strip() == "…" else _within(line) + r"\n" for line in self.said.splitlines())
        return re.fullmatch("".join(lines), text) is not None


def _within(line: str) -> str:
    return ".*?".join(map(re.escape, line.split("…")))


@dataclass(frozen=True)
class Block:
    """``start`` and ``end`` of its body in the page.  A block has a ``file`` or commands."""

    start: int
    end: int
    indent: str
    file: str
    body: str

    @property
    def commands(self) -> list[Command]:
        found: list[Command] = []
        for line in self.body.splitlines(keepends=True):
            if line.startswith("$ "):
                found.append(Command(line[2:].rstrip("\n"), ""))
            else:
                found[-1] = replace(found[-1], said=found[-1].said + line)
        return found


def blocks(page: str) -> Iterator[Block]:
    """Files and sessions of a page, in order; other blocks are only to be read."""
    for found in _BLOCK.finditer(page):
        if found["file"] or found["kind"] == "console":
            body = re.sub(rf"^{found['indent']}", "", found["body"], flags=re.MULTILINE)
            yield Block(found.start("body"), found.end("body"), found["indent"], found["file"] or "", body)


def run(line: str, folder: Path) -> str:
    """What a command prints, on both streams, in an environment of its own."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    kept = {
        name: value for name, value in os.environ.items() if name in ("PYTHONPATH", "LANG", "TMPDIR", "SSL_CERT_FILE")
    }
    env = {**kept, "PATH": path, "HOME": str(folder), "COLUMNS": "100", "PYTHONUTF8": "1"}
    done = subprocess.run(
        ["bash", "-c", line], cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, timeout=100, check=False,
    )  # fmt: skip
    return done.stdout.decode().replace(str(folder), "~")


def walk(page: str) -> tuple[str, list[str]]:
    """The page with what its commands print now, and what differs from what it said."""
    parts, last, wrong = [], 0, []
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        for block in blocks(page):
            if block.file:
                (folder / block.file).parent.mkdir(parents=True, exist_ok=True)
                (folder / block.file).write_text(block.body, "utf-8")
                continue
            session = ""
            for command in block.commands:
                if command.line.startswith("cd "):
                    folder = folder / command.line[3:]
                printed = "" if command.line.startswith("cd ") else run(command.line, folder)
                same = command.prints(printed)
                if not same:
                    wrong += [f"$ {command.line}", *difflib.ndiff(command.said.splitlines(), printed.splitlines())]
                session += f"$ {command.line}\n{command.said if same else printed}"
            parts += [page[last : block.start], re.sub(r"^(?=.)", block.indent, session, flags=re.MULTILINE)]
            last = block.end
    return "".join([*parts, page[last:]]), wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("pages", nargs="+", type=Path)
    parser.add_argument("--rewrite", action="store_true", help="Put what was printed into the pages.")
    asked = parser.parse_args()
    differs = []
    for path in asked.pages:
        page, wrong = walk(path.read_text("utf-8"))
        if asked.rewrite:
            path.write_text(page, "utf-8")
        differs += [f"{path}:", *wrong] if wrong else []
    print("\n".join(differs))
    sys.exit(bool(differs) and not asked.rewrite)


if __name__ == "__main__":
    main()
