"""A configuration as the shortest `vaeflow train` command that trains it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from vaeflow.config.layers import Plan
from vaeflow.config.settings import Config, _plain, setting_fields
from vaeflow.options import options_model
from vaeflow.plugins.registry import BUILTIN
from vaeflow.text import show


def train_command(plan: Plan) -> str:
    """Return the command: the parts, options and settings that differ from their defaults."""
    return " ".join(["vaeflow train", *(shlex.quote(word) for word in _words(plan))])


def _words(plan: Plan) -> Iterator[str]:
    for kind, part in plan.config.parts().items():
        name = part.name.removeprefix(f"{BUILTIN}/")
        if name != Config.model_fields[kind].default.name:
            yield from (f"--{kind}", name)
        fields = options_model(plan.parts[kind].load()).model_fields
        for option, value in part.options.items():
            if option not in fields or value != fields[option].get_default():
                yield from (f"--{kind}.{option.replace('_', '-')}", show(_plain(value)))
    for name, field in setting_fields().items():
        value = getattr(plan.config, name)
        if value == field.get_default():
            continue
        flag = name.replace("_", "-")
        if field.annotation is bool:
            yield f"--{flag}" if value else f"--no-{flag}"
        else:
            yield from (f"--{flag}", show(_plain(value)))
    for file in plan.plugins.selection.files:
        yield f"--plugin={file.absolute()}"
