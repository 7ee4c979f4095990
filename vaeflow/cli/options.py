"""Options that several commands have, each said once."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from vaeflow.cli.completion import part_names, recipe_names
from vaeflow.config.way import PROPOSALS

Decorator = Callable[[Any], Any]

recipe = click.option(
    "--recipe",
    metavar="NAME|FILE",
    shell_complete=recipe_names,
    help="Start from a recipe, or any TOML file.",
)
config = click.option(
    "--config", type=click.Path(path_type=Path), help="TOML file, laid over the recipe."
)
assignments = click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Set any key."
)
limit = click.option(
    "--limit", type=click.IntRange(1), metavar="N", help="Evaluate only the first N images."
)
split = click.option(
    "--split",
    type=click.Choice(["train", "validation", "test"]),
    default="test",
    show_default=True,
    help="The part of the data.",
)
weights = click.option(
    "--weights",
    type=click.Choice(["best", "last"]),
    default="best",
    show_default=True,
    help="Of the epoch with the best validation ELBO, or objective if it has its own bound, or of "
    "the last.",
)
device = click.option(
    "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:i or mps."
)
data_root = click.option(
    "--data-root", type=click.Path(path_type=Path), help="Where the data lies now."
)
seed = click.option(
    "--seed",
    type=click.IntRange(0, 2**63 - 1),  # the seeds of torch's generator
    default=0,
    show_default=True,
    help="Of the draws.",
)

tolerance = click.option(
    "--tolerance",
    type=click.FloatRange(0, min_open=True),
    default=0.05,
    show_default=True,
    help="Nats: the error of an example's NLL for which the proposal draws.",
)
max_draws = click.option(
    "--max-draws",
    type=click.IntRange(1),
    default=10_000,
    show_default=True,
    help="Of the proposal per example, at most.",
)
chunk = click.option(
    "--chunk",
    type=click.IntRange(1),
    help="Draws that pass through the decoder at a time, of all examples together: fewer take "
    "less memory, and change the figures by rounding only.",
)


def _conditions(
    ctx: click.Context, param: click.Parameter, words: tuple[str, ...]
) -> dict[str, str]:
    """Return covariates by name; a comma separates two where a name and "=" follow it."""
    found: dict[str, str] = {}
    for item in (item for word in words for item in re.split(r",(?=[^,=]+=)", word)):
        name, equals, value = item.partition("=")
        if not equals:
            raise click.UsageError(
                f"--condition {item}: write NAME=VALUE, as in --condition digit=3"
            )
        found[name.strip()] = value.strip()
    return found


data = click.option(
    "--data",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A table or an array of the form that RUN was trained on.  [default: RUN's own data]",
)
condition = click.option(
    "--condition",
    multiple=True,
    metavar="NAME=VALUE,…",
    callback=_conditions,
    help="Covariates of the model, one value for all.",
)


def _stacked(*decorators: Decorator) -> Decorator:
    """Return several options as one decorator, in their order."""

    def decorate(command: Any) -> Any:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


trained = _stacked(condition, weights, device, data_root)  # the fields of TrainedOptions
engine = click.option(
    "--engine",
    default="local",
    show_default=True,
    metavar="NAME",
    shell_complete=part_names,
    help="Processes of this machine (local), a Ray cluster (ray), or an engine of a plugin.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
baseline = click.option(
    "--baseline",
    metavar="NAME",
    help="The posterior, or the group as the tables name it, that the others are compared with.  "
    "[default: identity]",
)
anyway = click.option(
    "--anyway",
    is_flag=True,
    help="Compare even runs of other data, proposals or K; differences are taken only between runs "
    "of the same images.",
)


def own_split(default: str) -> Decorator:
    """Return the option of a part of the run's own data, beside which --data gives other data."""
    return click.option(
        "--split",
        type=click.Choice(["all", "train", "validation", "test"]),
        help=f"The part of RUN's own data.  [default: {default}]",
    )


def _names(ctx: click.Context, param: click.Parameter, text: str | None) -> list[str] | None:
    """Return names between commas."""
    return None if text is None else [name.strip() for name in text.split(",")]


drawn_columns = click.option(
    "--columns",
    metavar="NAME,…",
    callback=_names,
    help="Of a table: the columns that are drawn.  [default: the first twelve]",
)


def picture(default: str) -> Decorator:
    """Return the option of the file that a picture goes to, or its numbers."""
    return click.option(
        "--out",
        type=click.Path(path_type=Path, dir_okay=False),
        default=default,
        show_default=True,
        help="A picture, .png or .svg, or the numbers, .npz, .csv, .tsv, .parquet or .arrow.",
    )


def proposal(help: str, *, default: str | None = "laplace") -> Decorator:
    """Return the option of the proposal."""
    return click.option(
        "--proposal",
        type=click.Choice(PROPOSALS),
        default=default,
        show_default=True,
        help=help,
    )


def importance_samples(help: str, *, default: int | None = 500, least: int = 1) -> Decorator:
    """Return the option of K."""
    return click.option(
        "--importance-samples",
        "-k",
        type=click.IntRange(least),
        metavar="K",
        default=default,
        show_default=True,
        help=help,
    )
