"""`vaeflow train`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vaeflow.cli import options as shared
from vaeflow.cli.part_options import PartsCommand, command_line_layer


@click.command("train", cls=PartsCommand)
@shared.recipe
@shared.config
@shared.assignments
@click.option(
    "--run-dir",
    type=click.Path(path_type=Path),
    help="The run directory, which must not exist.  [default: runs/<time>-<parts>]",
)
@click.option("--print-config", is_flag=True, help="Print the resolved configuration and stop.")
@click.pass_context
def command(
    ctx: click.Context,
    recipe: str | None,
    config: Path | None,
    run_dir: Path | None,
    print_config: bool,
    **params: Any,
) -> int:
    """Train a model, in a new run directory, and evaluate it on the test data.

    Every part of the model is chosen by name; the defaults train a diagonal Gaussian posterior on
    scikit-learn's digits.
    """
    from vaeflow.cli.progress import finish, observers
    from vaeflow.cli.signals import interruptible
    from vaeflow.config.files import read_recipe, read_toml
    from vaeflow.config.layers import Layers
    from vaeflow.errors import ConfigError
    from vaeflow.plugins.loading import load_plugins

    layers = Layers()
    if recipe is not None:
        layers.add(read_recipe(recipe), f"recipe {recipe}")
    if config is not None:
        layers.add(read_toml(config), str(config))
    layers.add(command_line_layer(ctx, params), "the command line")
    for notice in layers.dropped:
        click.echo(f"Note: {notice}.", err=True)
    plugins = load_plugins(ctx.obj)
    resolved = layers.resolve(plugins)
    if print_config:
        import tomli_w

        click.echo(tomli_w.dumps(resolved.to_toml()), nl=False)
        return 0
    if run_dir is not None and run_dir.exists():
        raise ConfigError(
            f"--run-dir {run_dir}: it exists, and nothing is overwritten; choose another, or "
            f"continue it with `vaeflow resume {run_dir}`"
        )

    from vaeflow.runs.experiment import prepare, train
    from vaeflow.runtime.ranks import launched

    with launched() as world:
        experiment = prepare(resolved, plugins)
        with interruptible(once=world.count == 1) as stop:
            run, result = train(experiment, run_dir, lambda run: observers(run, experiment), stop)
    return finish(run, experiment, result, stop.code) if world.first else 0
