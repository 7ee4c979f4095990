"""The tutorial's experiment, and the flows that it left undone.

Claim: the recipe zoltowski-mnist repeats the loss curve of "Variational Autoencoder Tutorial in
TensorFlow" (D. Zoltowski, 2017), ending at or below 40.9. How planar and IAF posteriors compare
with the diagonal Gaussian on the same network is in results/tutorial.md.

    python benchmarks/tutorial.py --data-root DIR [--runs runs/tutorial] [--only NAME …]

A finished run is not trained again, an interrupted one goes on where it was.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import torch
from shared.common import RESULTS, machine, table, write_results

from vaeflow import load
from vaeflow.config.files import read_recipe
from vaeflow.config.layers import Layers, Plan
from vaeflow.evaluation import evaluate
from vaeflow.plugins.loading import load_plugins
from vaeflow.runs.build import images_of, load_data
from vaeflow.runs.directory import Run
from vaeflow.runs.experiment import Watch, resume, train
from vaeflow.training import Observer

# The losses that the tutorial prints.
PUBLISHED = {
    1: 101.71, 2: 74.69, 3: 62.68, 5: 55.90, 10: 49.56, 20: 44.72, 30: 42.82, 40: 41.51, 50: 40.53
}  # fmt: skip
# Fewer than the recipe's 50, so that two cores train all of it in half an hour.
EPOCHS = 20  # of the flows
BINARY: dict[str, Any] = {
    "epochs": EPOCHS,
    "binarization": "dynamic",
    "likelihood": "bernoulli",
    "objective": {"name": "elbo", "kl": "sampled"},
}
START = {"init": "truncated-normal"}  # the recipe's
RUNS: dict[str, dict[str, Any]] = {
    "recipe": {},
    "identity": BINARY,
    "planar": {**BINARY, "posterior": {"name": "planar", "steps": 16, **START}},
    "iaf": {**BINARY, "posterior": {"name": "iaf", "steps": 4, "width": 320, **START}},
}
K = 100


class Lines(Observer):
    """Prints an epoch's loss."""

    def __init__(self, run: str) -> None:
        self.run = run

    def epoch(self, record: Any, model: Any) -> None:
        """Print one line."""
        print(
            f"{self.run} epoch {record['epoch']} loss {record['train/loss']:.2f} "
            f"validation ELBO {record['validation/elbo']:.2f}",
            flush=True,
        )


def configured(options: dict[str, Any], data_root: Path | None) -> Plan:
    """Return the recipe with `options` laid over it."""
    layers = Layers()
    layers.add(read_recipe("zoltowski-mnist"), "recipe")
    layers.add(options, "benchmark")
    if data_root:
        layers.add({"data_root": str(data_root)}, "command line")
    return layers.resolve(load_plugins())


def finished(path: Path, options: dict[str, Any], data_root: Path | None) -> Run:
    """Return the finished run in `path`: trained, resumed, or found."""
    watch = Watch(observers=lambda run, experiment: [Lines(path.name)])
    if path.exists():
        run = Run.open(path)
        resume(run, load_plugins(), watch=watch)
        return run
    return train(configured(options, data_root), path, watch).run


def figures(run: Run) -> dict[str, Any]:
    """Evaluate a run on the test images."""
    plugins = load_plugins()
    plan = run.plan(plugins)
    x = images_of(load_data(plan), "test", plan.config)
    model = load(run.path)
    bounds = evaluate(model, x, samples=K)
    records = run.metrics
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "binarization": plan.config.binarization,
        "elbo": bounds.elbo,
        "nll": bounds.nll,
        "kl": bounds.kl,
        "images": len(x),
        "best_epoch": run.checkpoint().state["progress"]["best_epoch"],
        "losses": {r["epoch"]: r["train/loss"] for r in records},
    }


def picture(found: dict[str, Any], path: Path) -> None:
    """Draw the recipe's loss curve over the tutorial's points."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    losses = found["recipe"]["losses"]
    axes.plot(list(losses), list(losses.values()), color="#1f5fa8", label="vaeflow")
    axes.plot(
        list(PUBLISHED), list(PUBLISHED.values()), "o", color="#c8502d", label="tutorial (2017)"
    )
    axes.set(xlabel="epoch", ylabel="loss, nats + constant", ylim=(38, 104))
    axes.set_title("Gaussian VAE of σ = ½ on grey MNIST", fontsize=10)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def report(found: dict[str, Any]) -> None:
    """Write results/tutorial.json, .md and .png."""
    text = f"# The tutorial's experiment\n\n{machine()}\n"
    if "recipe" in found:
        losses = found["recipe"]["losses"]
        text += "\n## Loss of the recipe\n\n"
        text += table(
            ["epoch", *PUBLISHED],
            [
                ["tutorial", *(f"{v:.2f}" for v in PUBLISHED.values())],
                ["vaeflow", *(f"{losses[e]:.2f}" for e in PUBLISHED)],
            ],
        )
        text += "\n![Loss curves](tutorial.png)\n"
        picture(found, RESULTS / "tutorial.png")
    flows = [name for name in ("identity", "planar", "iaf") if name in found]
    if flows:
        text += (
            "\n## Flows: Bernoulli on dynamically binarized MNIST\n\n"
            f"Same network, {EPOCHS} epochs; 10,000 test images, one seed, ± standard error over "
            f"images; NLL with {K} importance samples.\n\n"
        )
        text += table(
            ["posterior", "ELBO", "NLL", "KL", "parameters"],
            [
                [n, f["elbo"], f["nll"], f["kl"], f"{f['parameters']:,}"]
                for n in flows
                for f in [found[n]]
            ],
        )
    plain = {
        name: {k: (vars(v) if hasattr(v, "mean") else v) for k, v in f.items()}
        for name, f in found.items()
    }
    write_results("tutorial", {"machine": machine(), "runs": plain}, text)


@click.command()
@click.option("--data-root", type=click.Path(path_type=Path), help="Where the MNIST files lie.")
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs/tutorial"))
@click.option("--only", multiple=True, type=click.Choice(list(RUNS)), help="Train these alone.")
@click.option("--threads", type=int, help="CPU threads.")
def main(data_root: Path | None, runs: Path, only: tuple[str, ...], threads: int | None) -> None:
    """Train the runs that are not trained yet, then report on every run that is finished."""
    if threads:
        torch.set_num_threads(threads)
    for name in only or RUNS:
        finished(runs / name, RUNS[name], data_root)
    done = {name: Run(runs / name) for name in RUNS if (runs / name).exists()}
    done = {name: run for name, run in done.items() if run.status.get("state") == "completed"}
    RESULTS.mkdir(exist_ok=True)
    report({name: figures(run) for name, run in done.items()})


if __name__ == "__main__":
    main()
