"""The scoring of single examples, of data or of a run's own.

Shapes: N examples. All scores are in nats.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from vaeflow.config.signature import options_from, with_options
from vaeflow.config.way import ProposalKind
from vaeflow.data.columns import Columns
from vaeflow.data.examples import Examples
from vaeflow.data.weights import checked_weights
from vaeflow.errors import DataError, NonFiniteError
from vaeflow.evaluation import Bounds, ImageBounds
from vaeflow.evaluation.options import Count, Tolerance, Whole
from vaeflow.evaluation.proposals.choice import choose
from vaeflow.evaluation.proposals.marginal import Precision
from vaeflow.evaluation.shares import evaluate_shared
from vaeflow.model import VAE
from vaeflow.parts.datasets.given import Given as NotKept
from vaeflow.plugins.loading import Plugins, load_plugins
from vaeflow.runs.directory import Run
from vaeflow.runs.evaluation import Evaluation
from vaeflow.runs.evaluation_options import EvaluationOptions
from vaeflow.runs.given import Given
from vaeflow.runs.scores import Scores, known_errors
from vaeflow.runs.trained import Choice, Trained, TrainedOptions
from vaeflow.runtime.blame import Blame
from vaeflow.runtime.progress import OpenBar, bar_of, no_bar
from vaeflow.runtime.ranks import World, launched

log = logging.getLogger("vaeflow")


@dataclass(frozen=True, kw_only=True)
class ScoringOptions(TrainedOptions):
    """How data is scored.

    Attributes:
        split: of the run's own data: "test", by default, "train", "validation" or "all".
        proposal: of log p(x): "laplace", "mixture" or "q".
        samples: K of the ELBO, which draws from q.
        tolerance: nats, the error of an example's log p(x) for which the proposal draws.
        max_draws: of the proposal for one example, at most.
        chunk: rows that pass through the decoder at a time; the scores do not depend on it.
        reference: how many of the run's test examples the scores are compared with, at most.
    """

    split: Choice | None = None
    proposal: ProposalKind = "laplace"
    samples: Count = 500
    tolerance: Tolerance = 0.05
    max_draws: Count = 10_000
    chunk: Count | None = None
    reference: Annotated[Whole, Field(ge=0)] = 1000

    def of_test(self, limit: int | None) -> EvaluationOptions:
        """Return how the run's test data is evaluated alike."""
        shared = ("proposal", "samples", "tolerance", "max_draws", "weights", "device", "chunk")
        same = {name: getattr(self, name) for name in shared}
        return EvaluationOptions(**same, data_root=self.data_root, limit=limit)


@with_options(ScoringOptions)
def score(
    model: VAE | str | Path | Run,
    data: object = None,
    *,
    plugins: Plugins | None = None,
    progress: bool | None = None,
    **options: Any,
) -> Scores:
    """Score each example of data, as `vaeflow score` does: log p(x), the ELBO, and how strange.

    The estimates are those of `vaeflow evaluate`, by the same draws. Under torchrun each rank
    scores a share of the data, and all return the same.

    Arguments:
        model: a run, or a model.
        data: the path of a table or of an array, a data frame, a mapping from names to columns, or
            an array; by default the run's own test data.
        plugins: where the run's parts are looked up; by default all that the environment selects.
        progress: show progress: by default on a terminal and in a notebook.

    Raises:
        ConfigError: if an option cannot be used.
        DataError: if the data cannot be had, or is of another form.
        CheckpointError, PluginError: if the run cannot be loaded.
        NonFiniteError: if a score is not a number.
    """
    chosen = options_from(ScoringOptions, options, "score")
    bar = bar_of(progress)
    own_test = data is None and chosen.split in (None, "test")
    with launched() as world:
        trained = Trained.of(model, chosen, "score", plugins)
        given = trained.given(data, chosen.split, own="test")
        given = replace(given, examples=_weighted(trained, given))
        kept = _kept(trained, chosen) if own_test else None
        bounds, means = _bounds(trained, given, chosen, kept, world, bar if world.first else no_bar)
        log_p = -bounds.nll.values
        if own_test:
            reference: tuple[Tensor, Tensor] | None = log_p, _weights(bounds)
        else:
            reference = _reference(trained, chosen, world, bar)
    share = None if reference is None else _share_below(log_p, *reference)
    order = given.order
    pareto_k, effective = bounds.pareto_k.numpy(), bounds.effective_sample_size.numpy()
    errors = known_errors(bounds.nll.errors.numpy(), pareto_k, effective)
    unsettled = np.isin(np.arange(len(given)), means.unsettled) | _lost(bounds, errors)
    return Scores(
        log_p.numpy()[order],
        errors[order],
        pareto_k[order],
        unsettled[order],
        bounds.elbo.values.numpy()[order],
        None if share is None else share[order],
        0 if reference is None else len(reference[0]),
        _observed(given.examples, trained.model.columns)[order],
        {name: values[order] for name, values in given.named.items()},
        means,
        each="row" if trained.model.columns else "example",
    )


def _lost(bounds: ImageBounds, errors: np.ndarray) -> np.ndarray:
    """Tell which errors (N,) of draws are not to be trusted, and so left out."""
    lost: np.ndarray = np.isnan(errors) & bounds.nll.errors.isfinite().numpy()
    return lost


def _weighted(trained: Trained, given: Given) -> Examples:
    """Return the examples with the weights of a column that the run's data set names."""
    options = {} if trained.plan is None else trained.plan.config.dataset.options
    values = given.table.get(options.get("weights", ""))
    if values is None or given.examples.weight is not None:
        return given.examples
    weight = checked_weights(f"column {options['weights']!r}", values, len(given))
    return replace(given.examples, weight=weight)


def _bounds(
    trained: Trained,
    given: Given,
    options: ScoringOptions,
    kept: ImageBounds | None,
    world: World,
    bar: OpenBar,
) -> tuple[ImageBounds, Bounds]:
    """Return the bounds of each example, as they are kept or anew, and their means.

    Raises:
        NonFiniteError: naming the first example whose score is not a number.
    """
    model, config = trained.model, None if trained.plan is None else trained.plan.config
    with (
        Blame(model, None).at(lambda: "in scoring", "--chunk 1000 takes less memory"),
        bar(len(given), "examples") as done,
    ):
        choice = choose(model, given.examples, options.proposal)
        bounds = kept or evaluate_shared(
            model,
            given.examples,
            world,
            samples=options.samples,
            proposal=choice.kind,
            precision=Precision(options.tolerance, options.max_draws),
            chunk=options.chunk,
            seed=0 if config is None else config.seed,
            progress=lambda count: done(count * world.count),
        )
    if not bounds.finite:
        bad = ~(bounds.elbo.values.isfinite() & bounds.nll.values.isfinite())
        first = int(bad.nonzero()[0])
        raise NonFiniteError(
            f"{given.place([first])} has log p(x) {-bounds.nll.values[first]:g} and ELBO "
            f"{bounds.elbo.values[first]:g}, where numbers are expected: leave it out, or score by "
            "other --weights"
        )
    means = Bounds.of(
        bounds,
        model,
        samples=options.samples,
        choice=choice,
        tolerance=options.tolerance,
        dequantized=None if config is None else config.dequantize,
    )
    return bounds, means


def _reference(
    trained: Trained, options: ScoringOptions, world: World, bar: OpenBar
) -> tuple[Tensor, Tensor] | None:
    """Return log p(x) and the weights of the run's test data, evaluated as the run keeps it.

    The first rank evaluates, the others wait for its figures.
    """
    run, plan = trained.run, trained.plan
    if run is None or plan is None or not options.reference:
        return None
    if plan.parts["dataset"].load() is NotKept:
        log.info("the scores are compared with no test data, as %s holds none", run.path)
        return None
    found = torch.zeros(2, 0, dtype=torch.float64)
    if world.first:
        try:
            found = _test_data(run, trained, options, bar)
        except DataError as error:
            log.warning("the scores are compared with no test data: %s", error)
    numbers = torch.zeros(2, world.most(found.shape[1]), dtype=torch.float64)
    numbers[:, : found.shape[1]] = found
    log_p, weights = world.sum(numbers)
    return (log_p, weights) if len(log_p) else None


def _kept(trained: Trained, options: ScoringOptions) -> ImageBounds | None:
    """Return the bounds of all test data that `vaeflow evaluate` has kept, if it has."""
    run, whole = trained.run, options.of_test(None)
    if run is None or not run.evaluation("test", whole.way, options.weights).exists():
        return None
    evaluation = Evaluation.of(run, trained.plugins or load_plugins(), whole)
    return evaluation.kept.bounds if evaluation.stored else None


def _test_data(run: Run, trained: Trained, options: ScoringOptions, bar: OpenBar) -> Tensor:
    """Return log p(x) and weights (2, N) of the test data, of all that is kept or of the first."""
    bounds = _kept(trained, options)
    if bounds is None:
        plugins = trained.plugins or load_plugins()
        evaluation = Evaluation.of(run, plugins, options.of_test(options.reference))
        evaluation.run(bar)
        bounds = evaluation.kept.bounds
    return torch.stack((-bounds.nll.values, _weights(bounds)))


def _weights(bounds: ImageBounds) -> Tensor:
    weights = bounds.nll.weights
    return torch.ones(len(bounds), dtype=torch.float64) if weights is None else weights.double()


def _share_below(log_p: Tensor, reference: Tensor, weights: Tensor) -> np.ndarray:
    """Return the share of the reference's weights that lie below each of log_p."""
    values, order = reference.sort()
    below = torch.cat((torch.zeros(1).double(), weights[order].cumsum(0)))
    share: np.ndarray = (below[torch.searchsorted(values, log_p)] / below[-1]).numpy()
    return share


def _observed(examples: Examples, columns: Columns) -> np.ndarray:
    """Return the share of each example's values, of a table its columns, that are not missing."""
    each = [where.start for where in columns.slices().values()] or slice(None)
    parts = [part.values.flatten(1)[:, each].isnan() for part in examples.split(1000)]
    observed: np.ndarray = 1 - torch.cat(parts).double().mean(1).numpy()
    return observed
