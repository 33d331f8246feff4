"""The project that is disturbed: a few questions, in one spec or in two that ask some of the same."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Asked = Mapping[str, Sequence[str]]
"""Spec → the questions of its rows."""

ASKED: Mapping[bool, Asked] = {
    False: {"alpha": ("one?", "two?", "three?", "four?")},
    True: {"alpha": ("one?", "two?", "three?", "four?"), "beta": ("three?", "four?", "five?")},
}
"""Where the specs share nothing, and where they do."""


def write_project(root: Path, settings: Mapping[str, Any], asked: Asked) -> None:
    """Make it in ``root``, with one provider of these ``settings``."""
    (root / "specs").mkdir(parents=True)
    project = {"version": 1, "defaults": {"provider": "it"}, "providers": {"it": settings}}
    (root / "runner.yaml").write_text(json.dumps(project))
    for name, questions in asked.items():
        spec = {
            "version": 1,
            "name": name,
            "model": {"select": {"family": "Qwen3", "prefer": "cheapest"}},
            "input": {"path": f"specs/{name}.jsonl"},
            "prompt": {"user": "{{ row.q }}"},
            "parameters": {"max_tokens": 64},
        }
        (root / f"specs/{name}.yaml").write_text(json.dumps(spec))
        (root / f"specs/{name}.jsonl").write_text("".join(f"{json.dumps({'q': question})}\n" for question in questions))
