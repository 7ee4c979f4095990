"""Each command ends its help with an example, and understands it."""

import shlex

import click
import pytest

from vaeflow.cli import cli as group


def commands(parent=group, above=()):
    context = click.Context(parent)
    for name in parent.list_commands(context):
        command = parent.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*above, name))
        else:
            yield (*above, name), command


COMMANDS = {" ".join(words): command for words, command in commands()}


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - {"info"}))  # which shows a part's own
def test_the_help_of_a_command_ends_with_an_example_that_it_understands(name):
    epilog = COMMANDS[name].epilog or ""
    assert epilog.startswith(f"Example: vaeflow {name}")
    line = next(line for line in epilog.splitlines() if line.startswith("Example: "))
    words = shlex.split(line.removeprefix("Example: vaeflow "))[len(name.split()) :]
    COMMANDS[name].make_context(name, words)
