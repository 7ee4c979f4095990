"""Data as an evaluation sees it: converted, binarized or dequantized, and checked."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from vaeflow.config.signature import options_from, with_options
from vaeflow.config.way import ProposalKind
from vaeflow.data.binarization import Binarization, prepare_split, resolve_binarization
from vaeflow.data.checks import check_values
from vaeflow.data.examples import Data, Examples, as_examples
from vaeflow.data.places import Place, by_index, in_array
from vaeflow.errors import ConfigError, DataError, NonFiniteError
from vaeflow.evaluation.bounds import Bounds
from vaeflow.evaluation.measure import evaluate as evaluate_tensor
from vaeflow.evaluation.options import Count, Levels, Seed, Tolerance
from vaeflow.evaluation.proposals.marginal import Precision
from vaeflow.model import VAE
from vaeflow.model.frames import is_frame, of_frame, values_of
from vaeflow.runtime.blame import Blame
from vaeflow.runtime.progress import bar_of
from vaeflow.runtime.validation import no_validation


@dataclass(frozen=True, kw_only=True)
class ArrayOptions:
    """How data is evaluated.

    Attributes:
        proposal: of the NLL: "laplace" fits a Gaussian to the posterior of each example; "mixture"
            adds q(z|x), where that scores any z; "q" is q(z|x) alone, as papers print it.
        samples: K of the bounds under q.
        tolerance: nats, the error of an example's NLL for which the proposal draws.
        max_draws: of the proposal for one example, at most.
        binarization: "auto" draws grey data once under a binary likelihood, and leaves other data
            alone; "none", "dynamic" and "threshold" choose.
        dequantize: levels of grey data, which are spread over [0, 1] for a density.
        seed: of the draws; the same figures for the same seed.
        chunk: rows that pass through the decoder at a time; it bounds memory, and changes the
            figures by rounding alone.
    """

    proposal: ProposalKind = "laplace"
    samples: Count = 500
    tolerance: Tolerance = 0.05
    max_draws: Count = 10_000
    binarization: Literal["auto", "none", "dynamic", "threshold"] = "auto"
    dequantize: Levels | None = None
    seed: Seed = 0
    chunk: Count | None = None


@with_options(ArrayOptions)
def evaluate(model: VAE, x: object, *, progress: bool | None = None, **options: Any) -> Bounds:
    r"""Estimate the ELBO and the NLL of data under a model, with standard errors, in nats.

    .. math:: \mathrm{NLL} = -E\,\log \frac1K \sum_k \frac{p(x|z_k)\,p(z_k)}{r(z_k|x)}

    approaches −log p(x) from above as K grows, for every proposal r. With q in the place of r it is
    the importance-weighted bound (Burda et al. 2016, eq. 8), `under_q`. That bound depends on q as
    much as on the model. By default r is a Gaussian that is fitted to the posterior of each
    example, and K follows the tolerance. The data is checked as `vaeflow evaluate` checks it.

    Arguments:
        model: the model, on the device where it is to be evaluated.
        x: data (N, *data_shape), a NumPy array or a tensor; of a model of a table also a data
            frame; or `model.examples(…)` with its covariates and weights.
        progress: show progress: by default on a terminal and in a notebook.

    Returns:
        Bounds, whose `elbo`, `nll`, `kl` and other figures are means with standard errors.

    Raises:
        ConfigError: if `model` is no VAE of float32 or float64, or an option cannot be used.
        DataError: if the likelihood cannot score a value.
        NonFiniteError: if a bound is not a number.
        PluginError: naming the part that fails.
    """
    chosen = options_from(ArrayOptions, options, "evaluate")
    levels, place = chosen.dequantize, in_array("x")
    check_model(model)
    if model.columns and is_frame(x):
        x, place = of_frame(x, model.form)
    data = given(model, "x", x)
    data = held_out_split("x", data, model, chosen.binarization, levels, place)
    bar = bar_of(progress)
    with (
        Blame(model, None).at(lambda: "in evaluation", "lower chunk, as in chunk=1000"),
        no_validation(),
        bar(len(data), "examples") as done,
    ):
        bounds = evaluate_tensor(
            model,
            data,
            samples=chosen.samples,
            proposal=chosen.proposal,
            precision=Precision(chosen.tolerance, chosen.max_draws),
            chunk=chosen.chunk,
            seed=chosen.seed,
            dequantized=levels,
            progress=done,
        )
    if not (math.isfinite(bounds.elbo.mean) and math.isfinite(bounds.nll.mean)):
        raise NonFiniteError(
            f"the bound is not finite (ELBO {bounds.elbo}): look for weights that are no numbers, "
            "or for examples that the model cannot score"
        )
    return bounds


def check_model(model: object) -> None:
    """Check that data can be scored by a model.

    Raises:
        ConfigError: if it is no VAE, or its weights are of half precision.
    """
    if not isinstance(model, VAE):
        raise ConfigError(
            f"model is a {type(model).__name__}, but a vaeflow.VAE is expected: make one with "
            "vaeflow.build, or load one with vaeflow.load"
        )
    dtypes = [p.dtype for p in model.parameters()]
    if half := {torch.float16, torch.bfloat16}.intersection(dtypes):
        raise ConfigError(
            f"the model's weights are {half.pop()}, but float32 or float64 is expected: call "
            "model.float()"
        )


def given(model: VAE, name: str, x: object) -> Examples:
    """Return data that a caller gives as examples, their values of the model's type.

    Raises:
        ConfigError: if `model` is no VAE, or its weights are of half precision.
        DataError: if x is no array of examples, or lacks the model's covariates.
    """
    check_model(model)
    data = x if isinstance(x, Examples) else None
    values = values_of(name, x if data is None else data.x, model.dtype, model.form)
    data = Examples(values) if data is None else replace(data, x=values)
    if model.covariates and data.condition is None:
        names = ", ".join(model.covariates.names)
        raise DataError(
            f"the model is conditioned on {names}, but {name} has no covariates: give "
            f"model.examples({name}, condition={{…}})"
        )
    return data


def held_out_split(
    name: str,
    data: Data,
    model: VAE,
    binarization: Literal["auto"] | Binarization,
    levels: int | None,
    place: Place | None = None,
) -> Examples:
    """Return evaluation data, the same in every run; `place` says how messages call a value.

    Raises:
        DataError: if the likelihood cannot score it.
    """
    data, support, gaps = as_examples(data), model.likelihood.support, model.missing
    x = data.x
    if binarization == "auto":
        binarization = "none" if levels else resolve_binarization("auto", x, support, gaps=gaps)
    place = place or by_index(name)
    x = prepare_split(x, binarization, levels, place, gaps=gaps)
    check_values(name, x, model.data_shape, support, place, gaps=gaps)
    return replace(data, x=x)
