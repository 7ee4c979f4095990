"""A part of a trained model as a program in a file, compared with the model itself.

Shapes: N examples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vaeflow.data.examples import Examples
from vaeflow.errors import ConfigError
from vaeflow.model import VAE
from vaeflow.nn.modes import evaluating
from vaeflow.programs.about import about_of
from vaeflow.programs.formats import CURES, FORMATS, FormatName, cause, pack, record, silence
from vaeflow.programs.parts import Program, program_of
from vaeflow.storage import write_file

TOLERANCE = 1e-5


@dataclass(frozen=True)
class Exported:
    """A file that holds a part of a model.

    Attributes:
        path: of the file.
        part: "encoder", "decoder" or "sampler".
        format: "torch-export" or "onnx".
        inputs, outputs: the shape of one example of each, by name, in their order.
        difference: the largest between the file's outputs and the model's, |a − b|/max(1, |b|).
        examples: for how many it was taken.
    """

    path: Path
    part: str
    format: FormatName
    inputs: Mapping[str, tuple[int, ...]]
    outputs: Mapping[str, tuple[int, ...]]
    difference: float
    examples: int

    def __str__(self) -> str:
        """Return in sentences what the file takes and gives, and how near the model it is."""
        told = [
            ", ".join(f"{name} {_shape(shape)}" for name, shape in each.items())
            for each in (self.inputs, self.outputs)
        ]
        noise = "; noise is standard normal" if "noise" in self.inputs else ""
        return (
            f"{self.part}: {told[0]} → {told[1]}{noise}\n"
            f"run by {FORMATS[self.format].runtime} on {self.examples} examples, it differs from "
            f"the model by {self.difference:.1e} at most (relative above 1, absolute below)"
        )


def export_model(
    model: VAE,
    path: Path,
    examples: Examples,
    *,
    part: str = "encoder",
    form: FormatName,
    about: Mapping[str, Any] | None = None,
) -> Exported:
    """Write a part of a model as a program, run the file, and compare it with the model.

    Arguments:
        model: on the CPU.
        path: the new file.
        examples: N of them, on which both are compared, with the noise of seed 0.
        part: "encoder", "decoder" or "sampler".
        form: "torch-export" or "onnx".
        about: what joins the program beside what the model knows of itself.

    Raises:
        ConfigError: if torch cannot write the part, or the file computes anything else.
        PluginError: if the part draws what no noise can stand for.
        StorageError: if the file cannot be written.
    """
    with torch.no_grad(), evaluating(model), torch.random.fork_rng([]):
        program = program_of(model, part)
        FORMATS[form].check(program)
        inputs = _inputs(program, examples)
        expected = program(*inputs.values())
        recorded = record(program, inputs)
        outputs = {name: tuple(each.shape[1:]) for name, each in expected.items()}
        notes = {**about_of(program, outputs), **(about or {})}
        write_file(path, pack(form, program, recorded, ([*inputs], [*outputs]), notes))
        try:
            difference = _compare(path, form, program, inputs)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    return Exported(path, part, form, program.inputs, outputs, difference, len(examples))


def _compare(path: Path, form: FormatName, program: Program, inputs: Mapping[str, Tensor]) -> float:
    """Return the largest difference of a file from its model, on all examples and on one alone.

    Raises:
        ConfigError: if the file cannot be run, or differs by more than is allowed.
    """
    worst, run = 0.0, None
    for rows in (slice(None), slice(1)):
        given = {name: each[rows] for name, each in inputs.items()}
        try:
            with silence():
                run = run or FORMATS[form].load(path)
                found = run(given)
        except Exception as error:
            count = len(next(iter(given.values())))
            raise ConfigError(
                f"--out {path}: {FORMATS[form].runtime} cannot run it on "
                f"{count} example{'s' * (count != 1)} ({cause(error)}): the file is removed; "
                f"{CURES[form]}"
            ) from error
        difference = _difference(found, program(*given.values()))
        _check(path, form, difference)
        worst = max(worst, *difference.values())
    return worst


def _inputs(program: Program, examples: Examples) -> dict[str, Tensor]:
    """Return tensors (N, …) for each input: the examples, codes of N(0, I), noise."""
    torch.manual_seed(0)
    dtype = program.model.dtype
    found = {}
    for name, shape in program.inputs.items():
        if name == "x":
            found[name] = examples.values.to(dtype)
        elif name == "condition":
            assert examples.condition is not None
            found[name] = examples.condition.to(dtype)
        else:
            found[name] = torch.randn(len(examples), *shape, dtype=dtype)
    return found


def _difference(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, float]:
    """Return max |a − b|/max(1, |b|) of each output; ∞ where one alone is no number."""
    differences = {}
    for name, b in expected.items():
        away = (found[name].double() - b.double()).abs() / b.double().abs().clamp(min=1)
        away = torch.where(found[name] == b, 0.0, away)  # ∞ − ∞
        differences[name] = float(away.nan_to_num(nan=math.inf).max())
    return differences


def _check(path: Path, form: FormatName, difference: Mapping[str, float]) -> None:
    name = max(difference, key=lambda each: difference[each])
    if difference[name] > TOLERANCE:
        raise ConfigError(
            f"--out {path}: run by {FORMATS[form].runtime}, {name} differs from the model's by "
            f"{difference[name]:.1e}, but at most {TOLERANCE:.0e} is expected (relative above 1, "
            f"absolute below): the file is removed; {CURES[form]}"
        )


def _shape(shape: tuple[int, ...]) -> str:
    return f"(N, {', '.join(map(str, shape))})" if shape else "(N)"
