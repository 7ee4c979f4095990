"""`vaeflow evaluate`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from vaeflow.discovery import Selection


@click.command("evaluate")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--importance-samples",
    "-k",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="K, draws of z per image.",
)
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "test"]),
    default="test",
    show_default=True,
    help="The data to evaluate on.",
)
@click.option(
    "--weights",
    type=click.Choice(["best", "last"]),
    default="best",
    show_default=True,
    help="Of the epoch with the best validation ELBO, or of the last.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:i, mps.")
@click.option("--data-root", type=click.Path(path_type=Path), help="Where the data lies now.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.pass_obj
def command(
    selection: Selection | None,
    run: Path,
    importance_samples: int,
    split: str,
    weights: str,
    device: str,
    data_root: Path | None,
    as_json: bool,
) -> None:
    """Estimate the ELBO and the NLL of the model in RUN, with standard errors over images.

    The NLL is estimated by the importance-weighted bound of Burda et al. (2016), which approaches
    −log p(x) from above as K grows.
    """
    from vaeflow import load
    from vaeflow.cli.running import counting, print_bounds
    from vaeflow.experiment import evaluate_split, images_of, load_data
    from vaeflow.plugins import load_plugins
    from vaeflow.runs import Run

    plugins = load_plugins(selection)
    config = Run.open(run).config(plugins)
    if data_root is not None:
        config = config.model_copy(update={"data_root": data_root.absolute()})
    model = load(run, device=device, weights=weights, plugins=plugins)
    images = images_of(load_data(config, plugins), split, config)
    with counting(0 if as_json else len(images), f"{split} images") as progress:
        bounds = evaluate_split(
            model, images, config, samples=importance_samples, progress=progress
        )
    if as_json:
        stated = {
            "run": str(run),
            "dataset": config.dataset.name,
            "split": split,
            "binarization": config.binarization,
            "dequantize": config.dequantize,
            "weights": weights,
            "seed": config.seed,
        }
        click.echo(json.dumps({**stated, **bounds.as_dict()}, indent=2))
    else:
        print_bounds(bounds, f"{split} data, binarization {config.binarization}")
