"""`runner completion`: the script by which a shell completes commands, options and the project's own names."""

from __future__ import annotations

import click

VARIABLE = "_RUNNER_COMPLETE"
SHELLS = {
    "bash": 'Add this line to ~/.bashrc (bash 4.4 or newer):\n    eval "$(runner completion bash)"',
    "zsh": 'Add this line to ~/.zshrc, below compinit:\n    eval "$(runner completion zsh)"',
    "fish": "Write it to where fish looks:\n    runner completion fish > ~/.config/fish/completions/runner.fish",
}


@click.command()
@click.argument("shell", type=click.Choice(list(SHELLS)))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that lets a shell complete commands, options and names.

    \b
    bash, in ~/.bashrc:  eval "$(runner completion bash)"
    zsh, in ~/.zshrc:    eval "$(runner completion zsh)"
    fish:                runner completion fish > ~/.config/fish/completions/runner.fish
    """
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(context.find_root().command, {}, "runner", VARIABLE).source())
