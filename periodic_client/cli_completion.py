"""The command ``periodic completion``: the line that has a shell complete ``periodic``. Click does the completing."""

import os
from pathlib import Path

import click

from periodic_client.cli_output import show

LINES = {
    "bash": 'eval "$(_PERIODIC_COMPLETE=bash_source periodic)"  # in ~/.bashrc',
    "zsh": 'eval "$(_PERIODIC_COMPLETE=zsh_source periodic)"  # in ~/.zshrc, after compinit',
    "fish": "_PERIODIC_COMPLETE=fish_source periodic | source  # in ~/.config/fish/config.fish",
}


@click.command()
@click.argument("shell", required=False, type=click.Choice(list(LINES)))
def completion(shell: str | None) -> None:
    """Print the line that has your shell complete commands and options.

    Without SHELL it is the one that SHELL of the environment names.
    """
    mine = shell or Path(os.environ.get("SHELL", "")).name
    if mine not in LINES:
        raise click.UsageError(f"which shell is it? name one of {', '.join(LINES)}")
    show(LINES[mine])
