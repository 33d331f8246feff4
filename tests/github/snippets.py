"""The YAML of docs/gitops.md: each block begins with a comment that names the file it belongs into."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from textwrap import dedent

PAGE = Path(__file__).parent.parent.parent / "docs" / "gitops.md"


def snippets() -> dict[str, str]:
    """Blocks of the page by the name of their file."""
    blocks = re.findall(r"^ *```yaml\n(.*?)^ *```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    found: dict[str, str] = {}
    for block in map(dedent, blocks):
        name = re.match(r"# (\S+)", block)
        if name is None or name[1] in found:
            raise ValueError(f"a block of {PAGE.name} does not begin with a file name of its own: {block[:60]!r}")
        found[name[1]] = block
    return found


def workflows() -> dict[str, str]:
    """Those of them that are workflows, by the last part of their name."""
    return {Path(name).name: text for name, text in snippets().items() if name.startswith(".github/workflows/")}


if __name__ == "__main__":
    for name, text in workflows().items():
        Path(sys.argv[1], name).write_text(text, "utf-8")
