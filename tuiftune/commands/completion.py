"""`tuiftune completion`: the script that makes a shell complete runs, profiles, stages and options after Tab."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script for SHELL, and say on stderr where it goes."""
    from click.shell_completion import FishComplete

    from tuiftune import output
    from tuiftune.shells import PLACES, Bash, Zsh

    classes = {"bash": Bash, "zsh": Zsh, "fish": FishComplete}
    script = classes[shell](context.find_root().command, {}, "tuiftune", "_TUIFTUNE_COMPLETE").source()
    click.echo(script.rstrip("\n"))
    output.word(PLACES[shell])
