"""What a part leaves alone: the tensors it is given, torch's mode of gradients, the seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from vaeflow.errors import PluginError


@contextmanager
def conduct(owner: str, given: Mapping[str, Tensor]) -> Iterator[None]:
    """Watch one call of a part.

    torch counts the changes of a tensor in place (`Tensor._version`). A change that passes by the
    count, through `.data` or NumPy, shows in the values, which are few.

    Arguments:
        owner: how messages call the part.
        given: what the part is given, under the names that messages use.

    Raises:
        PluginError: naming the part and what it changed.
    """
    before = {name: (x, x._version, x.detach().clone()) for name, x in given.items()}
    gradients, seed = torch.is_grad_enabled(), torch.initial_seed()
    yield
    for name, (x, version, values) in before.items():
        same = torch.equal(x.detach().nan_to_num(), values.nan_to_num())
        if x._version != version or not same:
            raise PluginError(
                f"{owner} changes {name} in place, which other parts read: work on a copy, as "
                "x + 1 and relu(x) do and x.add_(1) and relu_(x) do not"
            )
    if torch.is_grad_enabled() != gradients:
        torch.set_grad_enabled(gradients)
        raise PluginError(
            f"{owner} turns gradients {'off' if gradients else 'on'} for all that follows: write "
            f"`with torch.{'no_grad' if gradients else 'enable_grad'}():` around what needs it"
        )
    if torch.initial_seed() != seed:
        raise PluginError(
            f"{owner} seeds torch's global generator, so that every step has the same noise: draw "
            "from a torch.Generator of its own"
        )
