"""Data as an evaluation sees it: converted, binarized or dequantized, and checked."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from vaeflow.data.arrays import as_tensor
from vaeflow.data.binarization import Binarization, prepare_split, resolve_binarization
from vaeflow.data.checks import check_values
from vaeflow.errors import ConfigError
from vaeflow.evaluation.bounds import Bounds, evaluate
from vaeflow.model import VAE
from vaeflow.runtime.blame import Blame
from vaeflow.runtime.progress import Advance, unseen
from vaeflow.runtime.validation import no_validation


def evaluate_arrays(
    model: VAE,
    x: object,
    *,
    samples: int = 5000,
    binarization: Literal["auto"] | Binarization = "auto",
    dequantize: int | None = None,
    seed: int = 0,
    chunk: int | None = None,
    progress: Advance = unseen,
) -> Bounds:
    r"""Estimate the ELBO and the NLL of data under a model, with standard errors, in nats.

    .. math:: \mathrm{NLL} = -E\,\log \frac1K \sum_k \frac{p(x|z_k)\,p(z_k)}{q(z_k|x)}

    is the importance-weighted bound (Burda et al. 2016, eq. 8), which approaches −log p(x) from
    above as K grows. The data is checked as `vaeflow evaluate` checks it.

    Arguments:
        model: the model, on the device where it is to be evaluated.
        x: data (N, *data_shape), a NumPy array or a tensor.
        samples: K, the draws of q(z|x) of each example.
        binarization: "auto" draws grey data once under a binary likelihood, and leaves other data
            alone; "none", "dynamic" and "threshold" choose.
        dequantize: levels of grey data, which are spread over [0, 1] for a density.
        seed: of the draws; the same figures for the same seed.
        chunk: rows that pass through the decoder at a time; it bounds memory and changes nothing.
        progress: called as the work is done, with its share in examples.

    Returns:
        Bounds, whose `elbo`, `nll`, `kl` and other figures are means with standard errors.

    Raises:
        ConfigError: if `model` is no VAE.
        DataError: if the likelihood cannot score a value.
        PluginError: naming the part that fails.
    """
    data = held_out_split("x", given(model, "x", x), model, binarization, dequantize)
    with Blame(model, None).at(lambda: "in evaluation"), no_validation():
        return evaluate(
            model,
            data,
            samples=samples,
            chunk=chunk,
            seed=seed,
            dequantized=dequantize,
            progress=progress,
        )


def given(model: VAE, name: str, x: object) -> Tensor:
    """Return data that a caller gives as a tensor of the model's type.

    Raises:
        ConfigError: if `model` is no VAE.
        DataError: if x is no array of examples.
    """
    if not isinstance(model, VAE):
        raise ConfigError(
            f"model is a {type(model).__name__}, but a vaeflow.VAE is expected: make one with "
            "vaeflow.build, or load one with vaeflow.load"
        )
    dtype = next((p.dtype for p in model.parameters()), torch.float32)
    return as_tensor(name, x, dtype, model.data_shape)


def held_out_split(
    name: str,
    x: Tensor,
    model: VAE,
    binarization: Literal["auto"] | Binarization,
    levels: int | None,
) -> Tensor:
    """Return evaluation data, the same in every run.

    Raises:
        DataError: if the likelihood cannot score it.
    """
    support = model.likelihood.support
    if binarization == "auto":
        binarization = "none" if levels else resolve_binarization("auto", x, support)
    x = prepare_split(x, binarization, levels)
    check_values(name, x, model.data_shape, support)
    return x
