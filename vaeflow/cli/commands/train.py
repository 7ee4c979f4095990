"""`vaeflow train`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vaeflow.cli import options as shared
from vaeflow.cli.part_options import PartsCommand, command_line_layer, read_base
from vaeflow.cli.voice import say


@click.command(
    "train",
    cls=PartsCommand,
    epilog="Example: vaeflow train --posterior planar --epochs 20 --run-dir runs/first",
)
@shared.recipe
@shared.config
@shared.assignments
@click.option(
    "--run-dir",
    type=click.Path(path_type=Path),
    help="The run directory, which must not exist.  [default: runs/<time>-<parts>]",
)
@click.option(
    "--or-resume",
    is_flag=True,
    help="Go on with the run in --run-dir if it is there: for a scheduler that gives the same "
    "command again after a kill.",
)
@click.option("--print-config", is_flag=True, help="Print the resolved configuration and stop.")
@shared.as_json
@click.pass_context
def command(
    ctx: click.Context,
    /,
    recipe: str | None,
    config: Path | None,
    run_dir: Path | None,
    or_resume: bool,
    print_config: bool,
    as_json: bool,
    **params: Any,
) -> int:
    """Train a model, in a new run directory, and evaluate it on the test data.

    Every part of the model is chosen by name; the defaults train a diagonal Gaussian posterior on
    scikit-learn's digits.
    """
    from vaeflow.config.layers import Layers
    from vaeflow.config.settings import setting_fields
    from vaeflow.plugins.loading import load_plugins

    layers = Layers()
    for raw, source in read_base(recipe, config):
        layers.add(raw, source)
    layers.add(command_line_layer(ctx, params), "the command line")
    for notice in layers.dropped:
        say(f"Note: {notice}.", err=True)
    plan = layers.resolve(load_plugins(ctx.obj))
    if print_config:
        import tomli_w

        for name in setting_fields():
            if getattr(plan.config, name) is None:
                click.echo(f"# {name} = none")
        click.echo(tomli_w.dumps(plan.config.to_toml()), nl=False)
        return 0

    from vaeflow.cli.progress import report, watch
    from vaeflow.cli.signals import Stop
    from vaeflow.runs.again import train_or_resume
    from vaeflow.runs.experiment import train

    stop = Stop()
    begin = train_or_resume if or_resume else train
    return report(begin(plan, run_dir, watch(stop)), stop, run_dir, as_json=as_json)
