"""A group of commands that shows the way: grouped by purpose in its help, and with a guess at what a typo meant."""

from __future__ import annotations

import difflib

import click

PURPOSES = {
    "Start": ("init", "doctor", "validate", "schema", "completion"),
    "Work": ("plan", "apply", "retry", "cancel"),
    "Look": ("status", "report", "render", "models", "explain"),
    "Operate": ("state", "comment", "simulate"),
}
"""In the order of the help.  A command that stands in none comes last, under "More"."""


class Guide(click.Group):
    """As click's group.  One whose commands have no purpose in :data:`PURPOSES` lists them as click does."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections = self._sections(ctx, formatter.width)
        if len(sections) < 2:
            super().format_commands(ctx, formatter)
            return
        longest = max(len(name) for rows in sections.values() for name, _ in rows)
        with formatter.section("Commands"):
            for purpose, rows in sections.items():
                formatter.write(f"{'':>{formatter.current_indent}}{purpose}\n")
                with formatter.indentation():
                    formatter.write_dl([(f"{name:<{longest}}", told) for name, told in rows])

    def _sections(self, ctx: click.Context, width: int) -> dict[str, list[tuple[str, str]]]:
        left = {name: command for name in self.list_commands(ctx) if (command := self.get_command(ctx, name))}
        sections = {purpose: [name for name in names if name in left] for purpose, names in PURPOSES.items()}
        placed = {name for names in sections.values() for name in names}
        sections["More"] = [name for name in left if name not in placed]
        room = width - 8 - max(map(len, left), default=0)
        return {
            purpose: [(name, left[name].get_short_help_str(room)) for name in names if not left[name].hidden]
            for purpose, names in sections.items()
            if names
        }

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0].startswith("-") or self.get_command(ctx, args[0]) is not None:
            return super().resolve_command(ctx, args)
        near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=3, cutoff=0.5)
        guesses = "".join(["  Did you mean:", *(f"\n    {ctx.command_path} {name}" for name in near)]) if near else ""
        raise click.UsageError(f"There is no command {args[0]!r}.{guesses}", ctx)
