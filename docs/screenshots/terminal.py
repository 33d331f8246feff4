"""Pictures of the terminal: real commands in tmux, what the screen then shows, as SVG files in `docs/images/`.

``python docs/screenshots/terminal.py`` takes them anew; it needs tmux, and the `runner` of this environment.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME, MONOKAI, TerminalTheme
from rich.text import Text

IMAGES = Path(__file__).parent.parent / "images"
WIDTH = 80
THEMES: Mapping[str, TerminalTheme] = {"light": DEFAULT_TERMINAL_THEME, "dark": MONOKAI}

_SVG = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; \
font-size: {char_height}px; line-height: {line_height}px; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
"""As rich's own template, without its font, which would be fetched from elsewhere."""


class Screen:
    """A tmux session of its own; text typed into it, and what is shown."""

    def __init__(self, folder: Path, lines: int) -> None:
        self._socket = str(folder / "tmux")
        path = f"{Path(sys.executable).parent}:$PATH"
        shell = f"cd {shlex.quote(str(folder / 'demo'))} && PATH={path} PS1='$ ' exec bash --norc --noprofile"
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", str(WIDTH), "-y", str(lines), shell)
        self._ready()

    def _tmux(self, *arguments: str) -> str:
        command = ["tmux", "-S", self._socket, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def type(self, text: str) -> None:
        self._tmux("send-keys", "-l", text)
        self._tmux("send-keys", "Enter")

    def show(self) -> str:
        """The screen, its colours as escape sequences."""
        return self._tmux("capture-pane", "-e", "-p").rstrip("\n")

    def _ready(self) -> None:
        """Wait for an empty screen with nothing but a prompt."""
        while self._tmux("capture-pane", "-p").strip() != "$":
            time.sleep(0.05)

    def wait(self, until: str, seconds: float = 60) -> str:
        deadline = time.monotonic() + seconds
        while not re.search(until, shown := self.show()):
            if time.monotonic() > deadline:
                raise SystemExit(f"{until!r} never came up on the screen:\n{shown}")
            time.sleep(0.1)
        return shown

    def take(self, name: str, command: str, until: str) -> None:
        """Type a command on an empty screen, and keep the picture once ``until`` (a pattern) is on it."""
        self.type("clear")
        self._ready()
        self.type(command)
        self.keep(name, until)

    def keep(self, name: str, until: str) -> None:
        picture(name, self.wait(until))

    def close(self) -> None:
        self._tmux("kill-server")


@contextmanager
def screen(folder: Path, lines: int) -> Iterator[Screen]:
    shown = Screen(folder, lines)
    try:
        yield shown
    finally:
        shown.close()


def picture(name: str, shown: str) -> None:
    """Write the screen as one SVG per theme."""
    for theme, colours in THEMES.items():
        console = Console(record=True, width=WIDTH, file=StringIO(), color_system="truecolor", force_terminal=True)
        console.print(Text.from_ansi(shown), soft_wrap=False)
        svg = console.export_svg(title="", theme=colours, code_format=_SVG, unique_id=f"{name}-{theme}")
        (IMAGES / f"{name}-{theme}.svg").write_text(svg, "utf-8")


# ---- what is shown ---------------------------------------------------------------------------------------------------

_PROJECT = """\
version: 1
specs: specs
state: .runner
defaults: {provider: demo}
limits: {requests: 10000, cost: 50}
providers:
  demo: {type: simulator, speed: 0.15, faults: faults.yaml}
"""
_SPEC = """\
version: 1
name: maths
description: Grade-school mathematics
model:
  select: {family: Qwen3, prefer: cheapest}
input: {path: specs/data/gsm8k_test.jsonl}
prompt:
  system: You are a careful tutor.
  user: "{{ row.question }}"
parameters: {max_tokens: 300}
"""
_TYPO = _SPEC.replace("parameters:", "paramters:").replace("row.question", "row.qestion").replace("maths", "Maths")
_FAULTS = """\
- {on: task, do: fail-rows, share: 0.05, status_code: 400, times: 1}
"""


def project(folder: Path) -> None:
    """A small project over the questions of this repository's own specs."""
    (folder / "specs" / "data").mkdir(parents=True)
    data = Path(__file__).parents[2] / "specs" / "data" / "gsm8k_test.jsonl"
    (folder / "specs" / "data" / data.name).write_bytes(data.read_bytes())
    (folder / "runner.yaml").write_text(_PROJECT)
    (folder / "faults.yaml").write_text(_FAULTS)
    (folder / "specs" / "maths.yaml").write_text(_SPEC)


def main() -> None:
    """One project through its life: each picture is what the screen shows at that moment."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        project(folder / "demo")
        spec = folder / "demo" / "specs" / "maths.yaml"
        with screen(folder, 32) as shown:
            spec.write_text(_TYPO)
            shown.take("failure", "runner validate", "problems")
            spec.write_text(_SPEC)
            shown.take("plan", "runner plan", "Digest")
            shown.take("apply-progress", "runner apply --yes --wait", r"[4-9]\d\d of 1,319 .*left")
            shown.keep("apply", "Ask for them again")
            shown.take("status", "runner status", "Ask for them again")
            spec.write_text(_SPEC.replace("a careful tutor", "a careful tutor who explains each step"))
            shown.take("plan-changed", "runner plan", "Digest")


if __name__ == "__main__":
    main()
