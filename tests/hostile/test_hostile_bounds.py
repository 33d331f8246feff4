"""Any command on a hostile spec ends within 20 s and 1 GB, with an expected error: the worst of each kind, for real."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from confined import confined
from helpers import Project

from runner import sandbox

LOOPS = "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}"
GROWS = "{{ '%(a)s' * 3000000 % {'a': 'x' * 15000000} }}"

SPECS: dict[str, dict[str, Any]] = {
    "time and memory": {"prompt": {"system": GROWS, "user": LOOPS + "{{ row.q }}"}},
    "names of megabytes": {"prompt": {"user": "{{ row['ab' * 7000000] }}{{ row.q['cd' * 7000000] }}"}},
}


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("time and memory", ["validate"]),
        ("names of megabytes", ["validate", "--format", "github"]),
        ("names of megabytes", ["plan", "--offline"]),
    ],
)
def test_the_worst_templates(tmp_path: Path, name: str, command: list[str]) -> None:
    """The spec and the place are named, in few words."""
    project = Project(tmp_path)
    project.spec(rows=3, **SPECS[name])
    done = confined(project.root, *command)
    assert done.code == 1, done.err
    said = done.out + done.err
    assert "specs/job.yaml" in said
    assert len(said) < 5_000


def test_many_specs_that_each_take_little_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of documents whose templates take a tenth of a second each, which no limit on one of them would meet:
    together they have seconds, and what comes after is refused untried."""
    monkeypatch.setattr(sandbox, "RATION", 0.4)
    project = Project(tmp_path)
    project.spec(rows=1)
    slow = "{% for i in range(2000) %}{% for j in range(1000) %}{% endfor %}{% endfor %}"
    common = {"version": 1, "model": "mi-9", "provider": "demo", "input": {"path": "specs/data/job.jsonl"}}
    documents = [{**common, "name": f"s{n}", "text": f"{slow}{{{{ row.q }}}}{n}"} for n in range(100)]
    project.write("specs/many.yaml", "".join(f"--- {json.dumps(document)}\n" for document in documents))
    done = project.call("validate")
    assert done.code == 1, done.err
    assert "specs/many.yaml:100:" in done.out
    assert done.out.count("what was tried before it took all the time that there is") > 50


def test_an_image_for_each_of_a_thousand_parts(tmp_path: Path) -> None:
    """Each may have 20 MB, all of them together no more than there is room for."""
    project = Project(tmp_path)
    (project.root / "a.png").parent.mkdir(exist_ok=True)
    (project.root / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(19_000_000))
    document = project.spec(rows=[{"p": "a.png"}], model="mi-3")
    del document["prompt"]
    parts = [{"image": "{{ row.p }}"}] * 1_000
    project.write("specs/job.yaml", json.dumps({**document, "messages": [{"role": "user", "content": parts}]}))
    done = confined(project.root, "render", "job")
    assert done.code == 1, done.err[-300:]
    assert "specs/job.yaml:" in done.err
