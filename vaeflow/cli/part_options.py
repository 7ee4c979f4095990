"""A command whose options come from the configuration and from the parts that are chosen.

`--posterior planar` chooses a part, `--posterior.steps 16` sets one of its options, and --help
explains the options of the parts that are named on the line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from vaeflow.cli.completion import choice_of, dotted_items, dotted_option, named, part_names
from vaeflow.cli.formulas import plain
from vaeflow.plugins.registry import KINDS

_DOTTED = re.compile(rf"--({'|'.join(KINDS)})\.([A-Za-z][\w-]*)(?:=(.*))?", re.DOTALL)


class PartsCommand(click.Command):
    """Adds one flag per setting, one per kind of part, and `--KIND.OPTION VALUE`."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._all: list[click.Parameter] = []  # made when they are asked for first

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the command's own parameters, and the configuration's."""
        if not self._all:
            self._all = [*_kind_options(), *_setting_options(), *super().get_params(ctx)]
        if ctx.resilient_parsing:
            return [*dotted_option(ctx, ctx.meta.get("vaeflow.argv", ())), *self._all]
        return self._all

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete `--KIND.OPTION` as well."""
        found = dotted_items(ctx, incomplete)
        return super().shell_complete(ctx, incomplete) if found is None else found

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take out the dotted options, whose names only the chosen parts know."""
        if ctx.resilient_parsing:  # a line to complete
            ctx.meta["vaeflow.argv"] = tuple(args)
            return super().parse_args(ctx, args)
        rest, dotted = split_dotted(args)
        ctx.meta["vaeflow.dotted"] = dotted
        ctx.meta["vaeflow.argv"] = tuple(rest)  # click empties the list as it parses
        return super().parse_args(ctx, rest)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options in sections: parts, settings, and each chosen part's own."""
        sections: dict[str, list[tuple[str, str]]] = {"Parts": [], "Training": [], "Options": []}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and isinstance(param, click.Option):
                kind = "Parts" if param.name in KINDS else "Training"
                own = not (param.name in KINDS or param.name in _setting_names())
                sections["Options" if own else kind].append(record)
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows)
        for kind, name in named(ctx.meta["vaeflow.argv"]).items():
            self._format_part(formatter, kind, name)
        if not named(ctx.meta["vaeflow.argv"]):
            formatter.write_paragraph()
            formatter.write_text(
                "A part's own options are written --KIND.OPTION VALUE; name the part to see them, "
                "as in: vaeflow train --posterior planar --help"
            )

    def _format_part(self, formatter: click.HelpFormatter, kind: str, name: str) -> None:
        from vaeflow.options import describe
        from vaeflow.plugins.loading import load_plugins

        part = load_plugins(click.get_current_context().obj).require(kind, name)
        rows = [
            (
                f"--{kind}.{o.name.replace('_', '-')} {_metavar(o.type)}",
                f"{plain(o.meaning)}  "
                f"[{o.type}; {'required' if o.required else 'default: ' + o.default}]",
            )
            for o in describe(part.load())
        ]
        with formatter.section(f"Options of {kind} {name}"):
            formatter.write_dl(rows or [("none", "")])


def split_dotted(args: list[str]) -> tuple[list[str], dict[str, dict[str, str]]]:
    """Separate `--kind.option value` and `--kind.option=value` from the other arguments.

    Raises:
        click.UsageError: if an option has no value.
    """
    rest: list[str] = []
    dotted: dict[str, dict[str, str]] = {}
    queue = list(args)
    while queue:
        word = queue.pop(0)
        match = _DOTTED.fullmatch(word)
        if match is None:
            rest.append(word)
            if word == "--":
                return rest + queue, dotted
            continue
        kind, option, value = match.groups()
        if value is None:
            if not queue or queue[0].startswith("--"):
                raise click.UsageError(f"{word} needs a value, as in {word} VALUE")
            value = queue.pop(0)
        dotted.setdefault(kind, {})[option.replace("-", "_")] = value
    return rest, dotted


def read_base(recipe: str | None, config: Path | None) -> list[tuple[Mapping[str, Any], str]]:
    """Return the layers below the command line with their sources: a recipe, and a TOML file."""
    from vaeflow.config.files import read_recipe, read_toml

    base: list[tuple[Mapping[str, Any], str]] = []
    if recipe is not None:
        base.append((read_recipe(recipe), f"recipe {recipe}"))
    if config is not None:
        base.append((read_toml(config), str(config)))
    return base


def command_line_layer(ctx: click.Context, params: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of the command line, nested as a TOML file would be."""
    layer: dict[str, Any] = {
        name: params[name] for name in _setting_names() if params.get(name) is not None
    }
    dotted: dict[str, dict[str, Any]] = ctx.meta["vaeflow.dotted"]
    for kind in KINDS:
        table = {
            **({"name": params[kind]} if params.get(kind) is not None else {}),
            **dotted.get(kind, {}),
        }
        if table:
            layer[kind] = table
    return assign(layer, params.get("assignments") or (), "--set posterior.steps=8")


def assign(layer: dict[str, Any], items: Sequence[str], example: str) -> dict[str, Any]:
    """Put KEY=VALUE and KIND.OPTION=VALUE into nested settings, and return them.

    Raises:
        click.UsageError: if an item is neither; it shows the example.
    """
    for item in items:
        key, equals, value = item.partition("=")
        kind, dot, option = key.strip().partition(".")
        if not (key and equals) or (dot and kind not in KINDS):
            raise click.UsageError(
                f"{example.partition(' ')[0]} {item}: write KEY=VALUE or KIND.OPTION=VALUE, as in "
                f"{example}"
            )
        if kind in KINDS:
            layer.setdefault(kind, {})[option or "name"] = value.strip()
        else:
            layer[kind] = value.strip()
    return layer


def _setting_names() -> list[str]:
    from vaeflow.config.settings import setting_fields

    return list(setting_fields())


def _setting_options() -> list[click.Option]:
    from vaeflow.config.settings import setting_fields
    from vaeflow.text import show, type_name

    options = []
    for name, field in setting_fields().items():
        flag = f"--{name.replace('_', '-')}"
        kind = type_name(field.annotation, field.metadata)
        if field.annotation is bool:
            text = f"{field.description}  [default: {'on' if field.default else 'off'}]"
            off = f"--no-{name.replace('_', '-')}"
            options.append(click.Option([name, f"{flag}/{off}"], default=None, help=text))
            continue
        text = f"{field.description}  [{kind}; default: {show(field.default)}]"
        options.append(
            click.Option(
                [name, flag], metavar=_metavar(kind), help=text, shell_complete=choice_of(kind)
            )
        )
    return options


def _kind_options() -> list[click.Option]:
    from vaeflow.config.settings import Config

    return [
        click.Option(
            [kind, f"--{kind}"],
            metavar="NAME",
            help=f"`vaeflow list {kind}` shows them.  "
            f"[default: {Config.model_fields[kind].default.name}]",
            shell_complete=part_names,
        )
        for kind in KINDS
    ]


def _metavar(kind: str) -> str:
    if "…" in kind:
        return "LIST"
    for word in ("integer", "number", "path", "true"):
        if word in kind:
            return {"true": "BOOL"}.get(word, word.upper())
    return "NAME" if kind.startswith("one of") else "TEXT"
