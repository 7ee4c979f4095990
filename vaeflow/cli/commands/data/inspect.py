"""`vaeflow data inspect`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vaeflow.cli.completion import names_of
from vaeflow.cli.part_options import split_dotted
from vaeflow.plugins.discovery import Selection

if TYPE_CHECKING:
    from vaeflow.runs.inspection import Inspection


class _Command(click.Command):
    """Takes `--dataset.OPTION VALUE`, as `vaeflow train` does."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        rest, dotted = split_dotted(args)
        ctx.meta["vaeflow.dotted"] = dotted
        return super().parse_args(ctx, rest)


@click.command("inspect", cls=_Command, epilog="Example: vaeflow data inspect people.csv")
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option(
    "--dataset",
    metavar="NAME",
    shell_complete=names_of("dataset"),
    help="The data set, where PATH does not tell it.",
)
@click.option("--data-root", type=click.Path(path_type=Path), help="The directory of its files.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(
    ctx: click.Context,
    path: Path | None,
    dataset: str | None,
    data_root: Path | None,
    as_json: bool,
) -> None:
    """Tell what the data in PATH is: a table, an array, or a folder of images.

    Shape, kinds, range, missing values and duplicates between splits are told, and which likelihood
    suits it, with the command that trains. Options of the data set are written as for `vaeflow
    train`, such as --dataset.drop id.
    """
    from vaeflow.plugins.loading import load_plugins
    from vaeflow.runs.inspection import dataset_of, inspect

    dotted: dict[str, dict[str, str]] = ctx.meta["vaeflow.dotted"]
    if wrong := dotted.keys() - {"dataset"}:
        raise click.UsageError(f"--{min(wrong)}.…: only options of the data set are taken here")
    options = dict(dotted.get("dataset", {}))
    if path is not None:
        options["path"] = str(path)
    if "path" not in options and dataset is None:
        raise click.UsageError("give a PATH, or --dataset NAME")
    name = dataset or dataset_of(Path(options["path"]))
    selection: Selection | None = ctx.obj
    found = inspect({"name": name, **options}, data_root, load_plugins(selection))
    if as_json:
        click.echo(json.dumps(found.as_dict(), indent=2, ensure_ascii=False))
    else:
        _show(found)


def _show(found: Inspection) -> None:
    from vaeflow.cli.tables import print_columns
    from vaeflow.errors import printable

    sizes = found.splits.sizes()
    shape = " × ".join(map(str, found.splits.data_shape))
    parts = " / ".join(f"{size:,}" for size in sizes.values())
    click.echo(f"{found.dataset}: {parts} train / validation / test examples of {shape} values")
    for line in found.findings():
        click.echo(f"  {printable(line)}")
    if found.splits.columns:
        print_columns(found.columns())
    why = printable(found.suggestion.why)
    click.echo(f"\n--likelihood {found.suggestion.likelihood}: {why}")
    click.echo("likelihoods and this data:")
    width = max(map(len, found.likelihoods))
    for name, how in found.likelihoods.items():
        click.echo(f"  {name:<{width}}  {printable(how)}")
    click.echo(f"\nTrain with:\n  {printable(found.command)}")
