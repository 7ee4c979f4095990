"""What the shell offers after TAB: parts, their options and values, recipes and runs.

Only `--KIND.` imports a part. Nothing here fails or warns: a line is not finished yet.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from vaeflow.cli.selection import selection_of
from vaeflow.errors import VaeflowError
from vaeflow.plugins.registry import KINDS

if TYPE_CHECKING:
    from vaeflow.options import Option

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
_OPTION = re.compile(rf"--({'|'.join(KINDS)})\.([\w-]*)")


def starting(words: Iterable[str], incomplete: str) -> list[CompletionItem]:
    """Return the words that begin so."""
    return [CompletionItem(word) for word in words if word.startswith(incomplete)]


def part_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of a part or an engine, as the option or the argument before it asks."""
    kind = param.name if param.name in (*KINDS, "engine") else ctx.params.get("kind")
    return names_of(str(kind))(ctx, param, incomplete)


def names_of(kind: str) -> Complete:
    """Return the completion of the name of a part or an engine; of another kind there is none."""

    def complete(
        ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from vaeflow.plugins.loading import load_plugins

        found: list[str] = []
        if kind in (*KINDS, "engine"):
            with suppress(VaeflowError):
                registry = load_plugins(selection_of(ctx.find_root())).registry
                found = [registry.spelling(part) for part in registry.parts(kind)]
        return starting(found, incomplete)

    return complete


def recipe_names(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the name of a recipe, or a file."""
    from vaeflow.config.files import recipes

    return starting(recipes(), incomplete) or [CompletionItem(incomplete, type="file")]


def choice_of(kind: str) -> Complete:
    """Return the completion of a value, by its type in words: "one of fixed | shared or none"."""

    def complete(
        ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        if kind == "path":
            return [CompletionItem(incomplete, type="file")]
        return starting(choices(kind), incomplete)

    return complete


def choices(kind: str) -> list[str]:
    """Return the words of a type: "one of fixed | shared or none" has three, "integer" none."""
    one_of, *others = kind.removeprefix("one of ").split(" or ")
    words = one_of.split(" | ") if " | " in one_of or kind.startswith("one of ") else []
    return words + [word for word in others if word == "none"]


class RunPath(click.Path):
    """The directory of a run, which the shell looks for below runs/."""

    name = "run"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Complete the directories that hold a run."""
        folder = Path("runs") if "/" not in incomplete else Path(incomplete.rpartition("/")[0])
        found: list[str] = []
        with suppress(OSError):
            for path in sorted(folder.iterdir()):
                found += [str(path)] if (path / "config.toml").is_file() else []
        return starting(found, incomplete) or [CompletionItem(incomplete, type="dir")]


def with_runs(command: click.Command) -> click.Command:
    """Let the arguments RUN of a command complete to runs."""
    for param in command.params:
        if isinstance(param, click.Argument) and param.name in ("run", "runs"):
            param.type = RunPath(path_type=Path)
    return command


def dotted_items(ctx: click.Context, incomplete: str) -> list[CompletionItem] | None:
    """Complete `--KIND.OPTION` of the part that the line names, None of another word."""
    match = _OPTION.fullmatch(incomplete)
    if match is None:
        return None
    kind = match[1]
    found = [
        CompletionItem(f"--{kind}.{option.name.replace('_', '-')}", help=option.meaning)
        for option in _options(ctx, kind)
    ]
    return [item for item in found if item.value.startswith(incomplete)]


def dotted_option(ctx: click.Context, words: Sequence[str]) -> list[click.Parameter]:
    """Return the option whose value is completed, if it is a part's: the last of the words."""
    match = _OPTION.fullmatch(words[-1]) if words else None
    if match is None:
        return []
    for option in _options(ctx, match[1]):
        if option.name == match[2].replace("-", "_"):
            name = f"{match[1]}__{option.name}"
            complete = choice_of(option.type)
            return [click.Option([name, match[0]], expose_value=False, shell_complete=complete)]
    return []


def _options(ctx: click.Context, kind: str) -> list[Option]:
    """Return the options of the part of a kind that the line names, or of the default."""
    from vaeflow.config.settings import Config
    from vaeflow.options import describe
    from vaeflow.plugins.loading import load_plugins

    chosen = named(ctx.meta.get("vaeflow.argv", ()))
    name = chosen.get(kind, Config.model_fields[kind].default.name)
    with suppress(VaeflowError):
        return describe(load_plugins(selection_of(ctx.find_root())).require(kind, name).load())
    return []


def named(argv: Sequence[str]) -> dict[str, str]:
    """Return the parts that the line names, kind -> name, before the line is parsed."""
    found = {}
    for word, following in zip_longest(argv, argv[1:], fillvalue=""):
        flag, equals, value = word.partition("=")
        if flag.startswith("--") and flag[2:] in KINDS:
            found[flag[2:]] = value if equals else following
    return found
