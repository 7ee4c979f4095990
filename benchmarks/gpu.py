"""A training step on a GPU: eager, compiled, captured as a CUDA graph; the NLL; the memory.

Targets, which no GPU was at hand to measure: at batch 100 the captured step of the identity
posterior takes at most 150 µs, an eighth of the eager loop written by hand; the NLL of 10,000
images with K = 5,000 takes at most 20 s.

    python benchmarks/gpu.py [--only identity] [--again]

First the captured steps are checked against the eager ones: the script ends where they differ. Each
row is written to results/gpu.json when it is measured, and a run that was cut off goes on behind
them; results/gpu.md is made of them. Without a GPU the script runs small and writes nothing.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import click
import torch
from shared.by_hand import VAE as PlainVAE
from shared.by_hand import cross_entropy, loop
from shared.common import RESULTS, interleaved, machine, ratio, table, write_results
from shared.work import BINARY, WORK, data, own_floor, vaeflow_trainer
from torch.profiler import ProfilerActivity, profile

from vaeflow.data.splits import Splits
from vaeflow.evaluation import evaluate
from vaeflow.runtime.validation import no_validation
from vaeflow.training import Trainer
from vaeflow.training.acceleration.captured import Captured

CONVOLUTIONS = {"encoder": "gated-conv", "decoder": "gated-conv"}
KINDS: dict[str, dict[str, object]] = {
    **{name: WORK[name] for name in ("identity", "planar 16", "iaf 4 × 320")},
    "gated-conv": {**BINARY, **CONVOLUTIONS, "posterior": {"name": "identity"}},
}
BATCHES = (100, 1000)
MODES: dict[str, dict[str, object]] = {
    "eager": {"capture": False},
    "compiled": {"capture": False, "compile": True},
    "captured": {},
    "captured, compiled": {"compile": True},
}
TOLERANCE = 1e-4  # of a loss, relatively: the order of atomic sums is not fixed
K, TEST_IMAGES = 5_000, 10_000


class Bench:
    """The measurements on one device.

    Arguments:
        device: where the models are.
        splits: the data.
        rounds: turns of each contender.
        steps: steps of a turn.
    """

    def __init__(self, device: torch.device, splits: Splits, rounds: int, steps: int) -> None:
        self.device = device
        self.splits = splits
        self.rounds = rounds
        self.steps = steps
        self.modes = MODES if device.type == "cuda" else {"eager": MODES["eager"]}

    def trainer(self, kind: str, batch: int, **options: object) -> Trainer:
        """Return a trainer with its weights drawn from one seed."""
        torch.manual_seed(0)
        settings = {"device": str(self.device), "batch_size": batch, "threads": None, **options}
        return vaeflow_trainer({**KINDS[kind], **settings}, self.splits, epochs=2)

    def stepper(self, trainer: Trainer) -> Callable[[], torch.Tensor]:
        """Return one step on the next batch, as the training takes it."""
        size = trainer.settings.batch_size
        order = torch.randperm(len(trainer.data.train), device=self.device).split(size)
        whole = [batch for batch in order if len(batch) == size]
        beta = torch.ones((), device=self.device)
        taken = 0

        def step() -> torch.Tensor:
            nonlocal taken
            taken += 1
            with no_validation():
                return trainer.step(whole[taken % len(whole)], beta)

        return step

    def settle(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def disagreement(self, kind: str, batch: int, steps: int = 20) -> float:
        """Return the largest relative difference of the losses of the captured and eager steps."""
        losses = []
        for options in (MODES["eager"], MODES["captured"]):
            trainer = self.trainer(kind, batch, **options)
            torch.manual_seed(1)
            step = self.stepper(trainer)
            losses.append(torch.stack([step().clone() for _ in range(steps)]))
            if isinstance(trainer.step, Captured) and not trainer.step.recorded:
                raise SystemExit(f"{kind} at batch {batch} was not captured")
        return ((losses[1] - losses[0]) / losses[0]).abs().max().item()

    def row(self, kind: str, batch: int) -> dict[str, Any]:
        """Return the figures of one kind of work at one batch size, times in seconds."""
        steps: dict[str, Callable[[], object]] = {}
        memory = {}
        for mode, options in self.modes.items():
            trainer = self.trainer(kind, batch, **options)
            steps[mode] = self.stepper(trainer)
            memory[mode] = self.peak_memory(steps[mode])
        with torch.device(self.device):
            steps["products"] = own_floor(trainer, batch)
            tiny = torch.zeros(())
        steps["launch"] = lambda: tiny.add_(1)
        if kind == "identity":
            plain = PlainVAE(cross_entropy).to(self.device)
            steps["plain"] = loop(plain, plain, self.splits.train, device=self.device, batch=batch)
        times = interleaved(steps, rounds=self.rounds, steps=self.steps, settle=self.settle)
        launches = self.launches(steps["eager"])
        return {
            "seconds": {name: statistics.median(each) for name, each in times.items()},
            "over_eager": {name: ratio(times, name, "eager") for name in times},
            "launches": launches,
            "epoch": self.epoch(kind, batch),
            "memory_mb": memory,
        }

    def launches(self, step: Callable[[], object]) -> int | None:
        """Count the kernels that a step launches."""
        if self.device.type != "cuda":
            return None
        with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as seen:
            step()
            self.settle()
        return sum(e.count for e in seen.key_averages() if "LaunchKernel" in e.key)

    def peak_memory(self, step: Callable[[], object]) -> float:
        """Return the most memory in MB that a few steps take, of the process on the CPU."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        for _ in range(5):
            step()
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated() / 2**20
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    def epoch(self, kind: str, batch: int) -> float:
        """Return the seconds of a second epoch with the default settings, validation included."""
        first, second = self.trainer(kind, batch).run().records
        return second["seconds"] - first["seconds"]

    def nll(self, kind: str, images: int, samples: int) -> float:
        """Return the seconds that the bound under q of so many images takes."""
        model = self.trainer(kind, BATCHES[0]).model
        x = self.splits.test.repeat(-(-images // len(self.splits.test)), 1, 1, 1)[:images]
        x = (x > 0.5).float()
        evaluate(model, x[:10], samples=samples, proposal="q")
        self.settle()
        start = time.perf_counter()
        evaluate(model, x, samples=samples, proposal="q")
        self.settle()
        return time.perf_counter() - start


def report(figures: dict[str, Any]) -> str:
    """Return the tables as Markdown."""
    micro = [
        [
            *key.split(" @ "),
            *(
                f"{1e6 * row['seconds'][name]:.0f}" if name in row["seconds"] else ""
                for name in (*MODES, "plain", "products", "launch")
            ),
            row["launches"] or "",
            f"{row['epoch']:.2f}",
            f"{row['memory_mb'].get('captured', row['memory_mb']['eager']):.0f}",
        ]
        for key, row in figures["steps"].items()
    ]
    headings = [
        "work", "batch", *(f"{mode}, µs" for mode in MODES), "by hand, µs", "products, µs",
        "launch, µs", "launches", "epoch, s", "peak MB",
    ]  # fmt: skip
    nll = [[kind, f"{s:.1f}"] for kind, s in figures["nll"].items()]
    checked = [[key, f"{d:.1e}"] for key, d in figures["disagreement"].items()]
    return (
        "# A training step on a GPU\n\nMeasured by `python benchmarks/gpu.py`, "
        "784-500-500-20-500-500-784 and gated convolutions, float32, medians of interleaved "
        "turns. By hand: the usual eager loop. Products: the matrix products of the linear layers "
        "alone. Launch: one kernel that does next to nothing. An epoch has "
        f"{figures['images']:,} images, and its validation.\n\n{figures['machine']}\n\n"
        + table(headings, micro)
        + f"\nBound under q of {figures['test_images']:,} images, "
        + f"K = {figures['samples']:,}:\n\n"
        + table(["work", "seconds"], nll)
        + "\nLargest relative difference between a loss of captured and eager steps, of 20:\n\n"
        + table(["work", "difference"], checked)
    )


@click.command()
@click.option("--device", help="By default CUDA where it is, else the CPU.")
@click.option("--only", type=click.Choice([*KINDS]), multiple=True, help="Kinds of work.")
@click.option("--again", is_flag=True, help="Measure again what stands in results/gpu.json.")
@click.option("--rounds", default=9, show_default=True, help="Turns of each contender.")
@click.option("--steps", default=100, show_default=True, help="Steps of a turn.")
@click.option("--images", type=int, help="Training images, to run small.")
def main(
    device: str | None,
    only: tuple[str, ...],
    again: bool,
    rounds: int,
    steps: int,
    images: int | None,
) -> None:
    """Measure and write results/gpu.json and results/gpu.md."""
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    on_gpu = place.type == "cuda"
    whole = data()
    small = slice(None, images)
    splits = Splits(whole.train[small], whole.validation[small], whole.test[small])
    bench = Bench(place, splits, rounds, steps)
    k, test_images = (K, TEST_IMAGES) if on_gpu else (50, 10)
    figures: dict[str, Any] = {
        "machine": machine(), "images": len(splits.train), "samples": k,
        "test_images": test_images, "disagreement": {}, "steps": {}, "nll": {},
    }  # fmt: skip
    kept = RESULTS / "gpu.json"
    if on_gpu and kept.exists() and not again:
        before = json.loads(kept.read_text(encoding="utf-8"))
        if all(before[key] == figures[key] for key in ("machine", "images", "samples")):
            figures = before

    def done() -> None:
        if on_gpu:
            write_results("gpu", figures, report(figures))

    for kind in only or KINDS:
        for batch in BATCHES:
            if (key := f"{kind} @ {batch}") in figures["steps"]:
                continue
            if on_gpu:
                apart = bench.disagreement(kind, batch)
                figures["disagreement"][key] = apart
                if apart > TOLERANCE:
                    sys.exit(f"{key}: captured and eager losses differ by {apart:.1e}")
            figures["steps"][key] = bench.row(kind, batch)
            done()
        if kind not in figures["nll"]:
            figures["nll"][kind] = bench.nll(kind, test_images, k)
            done()
    if not on_gpu:
        print(report(figures))
        print("No GPU: a trial on the CPU, of which nothing is kept.")


if __name__ == "__main__":
    main()
