"""YAML that means harm: every text is read within bounds, or refused at its place, by every command alike."""

from __future__ import annotations

from pathlib import Path

import pytest
from confined import confined
from helpers import Project

from runner.document import MAX_PROBLEMS, parse

LAUGHS = "a0: &a0 [lol]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
MERGES = "m0: &m0 {k: 1}\n" + "".join(f"m{n}: &m{n}\n  <<: [{', '.join([f'*m{n - 1}'] * 10)}]\n" for n in range(1, 12))

TEXTS: dict[str, str | bytes] = {
    "laughs": LAUGHS,
    "laughs in keys": LAUGHS.replace("[", "{? [").replace("]", "] : 1}"),
    "laughs by merging": MERGES,
    "one long text again and again": f"a: &a {'x' * 100_000}\nb: [{', '.join(['*a'] * 1_000)}]\n",
    "an anchor inside of itself": "a: &a [*a]\n",
    "an anchor that merges itself": "a: &a\n  <<: *a\n",
    "an anchor of another document": "a: &a 1\n---\nb: *a\n",
    "deep lists": "[" * 100_000,
    "deep mappings": "{a: " * 100_000,
    "deep blocks": "".join(f"{' ' * depth}a:\n" for depth in range(1_000)),
    "deep sequences on a line": "- " * 100_000 + "a",
    "a key of keys": "? " * 10_000 + "a",
    "python/object/apply": "a: !!python/object/apply:os.system ['touch pwned']\n",
    "python/object/new": "!!python/object/new:type\nargs: [x, [], {}]\n",
    "python/name": "a: !!python/name:os.system\n",
    "python/module": "a: !!python/module:antigravity\n",
    "a tag of a prefix": "%TAG !e! tag:yaml.org,2002:python/\n---\na: !e!name:os.system x\n",
    "a verbatim tag": "a: !<tag:yaml.org,2002:python/name:os.system> x\n",
    "a set, a pair and bytes": "a: !!set {b}\nc: !!omap [d: 1]\ne: !!binary aGk=\n",
    "a number of thousands of digits": "a: " + "9" * 100_000 + "\n",
    "a number of a huge exponent": "a: 1e999999999\n",
    "not a number": "a: .nan\nb: -.inf\n",
    "a key twice": "name: a\nname: b\n",
    "a key twice by merging": "x: &x {a: 1}\ny:\n  <<: *x\n  <<: *x\n",
    "keys that are no text": "1: a\n[b]: c\n? {d: e}\n: f\n",
    "NUL": b"a: b\0c\n",
    "escapes of a terminal": b"a: \x1b[31m\n",
    "C1": "a: \x9b31m\n",
    "UTF-16": "a: b\n".encode("utf-16"),
    "UTF-32": "a: b\n".encode("utf-32"),
    "UTF-8 cut short": "a: é\n".encode()[:-2],
    "overlong UTF-8": b"a: \xc0\xaf\n",
    "a surrogate in UTF-8": b"a: \xed\xa0\x80\n",
    "half a character by an escape": 'a: "\\ud800"\n',
    "a byte order mark in the middle": "a: 1\n\ufeffb: 2\n",
    "more than 2 MiB": "# " + "x" * (2 << 20),
    "an indicator without an end": '"' + "a" * 1_000_000,
    "ten thousand documents of nothing but mistakes": "--- {a: 1, a: 2}\n" * 10_000,
    "directives without an end": "%X\n" * 100_000,
    "a version of its own": "%YAML 9.9\n---\na: b\n",
}
"""Each is refused."""


@pytest.mark.parametrize("name", TEXTS)
def test_refused_at_its_place(name: str) -> None:
    """With a few short problems, each at a line and a column that the text has."""
    text = TEXTS[name]
    data = text.encode() if isinstance(text, str) else text
    _, problems = parse(data, "specs/a.yaml")
    assert problems
    assert len(problems) <= MAX_PROBLEMS + 1
    lines = data.count(b"\n") + data.count(b"\r") + data.count("\x85".encode()) + 1
    for problem in problems:
        assert 1 <= problem.line <= lines + 1
        assert problem.column >= 1
        assert problem.message.isprintable()
        assert len(problem.message) + len(problem.hint) < 400


def test_all_of_them_in_one_project(tmp_path: Path) -> None:
    """Bounds are kept file by file, in one process of little memory; nothing was executed on the way."""
    project = Project(tmp_path)
    project.spec(rows=1)
    for name, text in TEXTS.items():
        file = project.write(f"specs/{name.replace(' ', '-').replace('/', '-')}.yaml", "")
        file.write_bytes(text.encode() if isinstance(text, str) else text)
    done = confined(project.root, "validate")
    assert done.code == 1, done.err
    assert all(f"specs/{name.replace(' ', '-').replace('/', '-')}.yaml:" in done.out for name in TEXTS)
    assert not list(tmp_path.rglob("pwned"))
