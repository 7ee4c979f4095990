"""Naming the part at fault once a step or a validation has failed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from vaeflow.data.examples import Data, Examples, as_examples
from vaeflow.data.stored import Stored
from vaeflow.errors import PluginError, VaeflowError
from vaeflow.model import VAE
from vaeflow.parts.abstract import Objective
from vaeflow.runtime.blame import Blame
from vaeflow.training.first_pass import FirstPass, buffers_kept

_FEW = 10  # images that tell which part is at fault


def name_fault(
    model: VAE,
    objective: Objective,
    x: Data,
    blame: Blame,
    where: str,
    error: Exception | None = None,
) -> None:
    """Name the part that changed a batch x in place or returned a wrong value, in either mode.

    Arguments:
        where: tells at which step or in which stage.
        error: what arose, which may be another part's failure at that value.

    Raises:
        PluginError: naming the part if it does so again, and in any case where nothing arose.
    """
    data = as_examples(x)
    data = replace(data, x=data.values.detach().clone())
    part_by_part = FirstPass(model, objective, data, blame, where)
    try:
        with blame.at(lambda: where), buffers_kept(model):
            part_by_part.all()
            if torch.is_grad_enabled():
                part_by_part.objective()
    except PluginError as fault:
        raise fault from error
    except VaeflowError:
        if error is None:
            raise
    if error is None:
        raise PluginError(
            f"a part changed a batch in place, or returned a wrong shape, {where}, but not again: "
            "have each part work on copies, and return one number for each draw"
        )


@contextmanager
def naming_faults(
    model: VAE, objective: Objective, x: Examples, blame: Blame, where: str
) -> Iterator[None]:
    """Name the part at fault where the block fails, or where x (B, *data_shape) was changed.

    Raises:
        PluginError: naming the part; else whatever the block raises.
    """
    tensor = x.x.source if isinstance(x.x, Stored) else x.x  # a file is not changed
    version, error = getattr(tensor, "_version", 0), None
    try:
        yield
    except VaeflowError:
        raise
    except Exception as caught:
        error = caught
    if error is not None or getattr(tensor, "_version", 0) != version:
        with torch.no_grad():
            few = x[:_FEW].read().to(model.device)
            name_fault(model, objective, few, blame, where, error)
    if error is not None:
        raise error
