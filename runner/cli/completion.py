"""`runner completion`: the script by which a shell completes commands, options and the project's own names."""

from __future__ import annotations

import click

VARIABLE = "_RUNNER_COMPLETE"
SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that lets a shell complete commands, options and names.

    In ~/.bashrc (bash 4.4 or newer): eval "$(runner completion bash)"

    In ~/.zshrc, below compinit: eval "$(runner completion zsh)"

    For fish: runner completion fish > ~/.config/fish/completions/runner.fish
    """
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(context.find_root().command, {}, "runner", VARIABLE).source())
