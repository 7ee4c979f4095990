"""What an exported program tells of itself: its inputs and outputs, scaling and names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vaeflow.model import VAE
from vaeflow.programs.parts import EncoderProgram, Program
from vaeflow.version import __version__

_MEANING = {
    "x": "data as the likelihood scores it",
    "noise": "standard normal numbers",
    "condition": "covariates: a number standardized, a level by its index",
    "log_q": "log q(z|x) of the draw z, in nats",
    "output": "what the likelihood takes of the decoder",
}


def about_of(program: Program, outputs: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Return what joins a program, as values of JSON.

    Arguments:
        program: the part of the model.
        outputs: the shape of one example of each output, by name.
    """
    model = program.model
    encodes = isinstance(program, EncoderProgram)
    told = {
        **_MEANING,
        "z": "a draw of q(z|x)" if encodes else "a latent code",
        "mean": "the mean of q(z|x)" if encodes else "the mean of p(x|z)",
    }
    if model.missing:
        told["x"] += ", NaN where a value is missing"
    if model.columns:
        told["x"] += "; its numbers are those of the columns"
    inputs, made = (
        {name: {"shape": ["N", *shape], "meaning": told[name]} for name, shape in each.items()}
        for each in (program.inputs, outputs)
    )
    return {
        "vaeflow": __version__,
        "part": type(program).__name__.removesuffix("Program").lower(),
        "inputs": inputs,
        "outputs": made,
        "scaling": _scaling(model),
        "columns": model.columns.as_list(),
        "column_labels": model.columns.labels(),
        "covariates": model.covariates.as_list(),
    }


def _scaling(model: VAE) -> dict[str, Any]:
    """Return the scale of the networks, which the program applies itself."""
    numbers = {name: each.tolist() for name, each in model.scaling.named_buffers(recurse=False)}
    return {"kind": model.scaling.kind, **numbers}
