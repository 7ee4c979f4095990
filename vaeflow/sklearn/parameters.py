"""The parameters of an estimator: parts by name with their options, and what a fit takes of them.

Shapes: N rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from torch import Tensor
from torch.distributions import constraints

from vaeflow.config.layers import part_table
from vaeflow.data.weights import checked_weights
from vaeflow.errors import ConfigError, DataError, VaeflowError, did_you_mean
from vaeflow.options import describe
from vaeflow.plugins.loading import load_plugins

PARTS = ("encoder", "posterior", "prior", "decoder", "likelihood")
_CHOSEN = (*PARTS, "objective")


class PartsByName:
    """Lets the options of parts be set and told as parameters, such as posterior__steps."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters; `deep` adds the options of parts that were given some."""
        found: dict[str, Any] = super().get_params(deep)  # type: ignore[misc]
        for kind in _CHOSEN if deep else ():
            if isinstance(found[kind], tuple) and len(found[kind]) == 2:
                found |= {f"{kind}__{option}": v for option, v in dict(found[kind][1]).items()}
        return found

    def set_params(self, **params: Any) -> Any:
        """Set parameters; posterior__steps=8 sets an option of the part that is chosen then."""
        options = {key: key.partition("__")[::2] for key in params if "__" in key}
        plain = {key: value for key, value in params.items() if key not in options}
        super().set_params(**plain)  # type: ignore[misc]
        for key, (kind, option) in options.items():
            if kind not in _CHOSEN:
                raise ValueError(
                    f"Invalid parameter {key!r}: options of {', '.join(_CHOSEN)} are set so"
                )
            table = part_table(kind, getattr(self, kind), type(self).__name__)
            name = table.pop("name")
            _check_option(key, kind, name, option)
            setattr(self, kind, (name, {**table, option: params[key]}))
        return self


def _check_option(key: str, kind: str, name: str, option: str) -> None:
    """Refuse an option that a part does not have, where the part is known here."""
    try:
        known = [each.name for each in describe(load_plugins().require(kind, name).load())]
    except VaeflowError:  # `fit` tells it
        return
    if option not in known:
        raise ValueError(
            f"Invalid parameter {key!r}: the {kind} {name} has no option "
            f"{option!r}{did_you_mean(option, known)}"
        )


def seed_of(random_state: Any) -> int:
    """Return the seed of a fit: a whole number itself, else a draw of the generator."""
    if isinstance(random_state, int | np.integer):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))


def split(count: int, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the training and of the held-out rows.

    Raises:
        ConfigError: if the fraction is none.
    """
    if not 0 <= fraction < 1:
        raise ConfigError(
            f"validation_fraction is {fraction!r}, but a number from 0 on and below 1 is expected: "
            "0 holds out no row"
        )
    order = np.random.RandomState(seed % 2**32).permutation(count)
    held_out = int(fraction * count)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def takes_any_unit(likelihood: Any) -> bool:
    """Tell whether a likelihood takes numbers of any unit, so that they can be standardized."""
    name = part_table("likelihood", likelihood, "VAE")["name"]
    part: Any = load_plugins().require("likelihood", name).load()
    return part.takes_columns or getattr(part, "support", None) is constraints.real


def settings_of(given: Mapping[str, Any] | None, own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of `vaeflow.fit`: those of parameters of their own, and further ones.

    Raises:
        ConfigError: if one is given twice.
    """
    for name in own:
        if name in (given or {}):
            parameter = "random_state" if name == "seed" else name
            raise ConfigError(
                f"settings holds {name!r}, which is a parameter of its own: give {parameter}"
            )
    return {**own, **(given or {})}


def weights_of(given: Any, count: int) -> Tensor | None:
    """Return the weight of each row (N,), or None.

    Raises:
        ValueError: as scikit-learn does where they are no weights.
    """
    if given is not None and not np.asarray(given).any():
        raise ValueError("sample_weight is zero for every row: give one of them more")
    try:
        return checked_weights("sample_weight", given, count)
    except DataError as error:
        raise ValueError(str(error)) from None
