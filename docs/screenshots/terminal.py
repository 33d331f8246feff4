"""Pictures of the terminal: real commands in tmux, what the screen then shows, as SVG files in `docs/images/`.

``python docs/screenshots/terminal.py`` takes them anew; it needs tmux, and the `runner` of this environment.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
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
        self.wait("$ ")

    def _tmux(self, *arguments: str) -> str:
        command = ["tmux", "-S", self._socket, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def type(self, text: str) -> None:
        self._tmux("send-keys", "-l", text)
        self._tmux("send-keys", "Enter")

    def show(self) -> str:
        """The screen, its colours as escape sequences."""
        return self._tmux("capture-pane", "-e", "-p").rstrip("\n")

    def wait(self, until: str, seconds: float = 60) -> str:
        deadline = time.monotonic() + seconds
        while until not in (shown := self.show()):
            if time.monotonic() > deadline:
                raise SystemExit(f"{until!r} never came up on the screen:\n{shown}")
            time.sleep(0.1)
        return shown

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
