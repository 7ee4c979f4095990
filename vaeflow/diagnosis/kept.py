"""What each stage of a diagnosis finds, in a form that can be kept, and the interface of a keeper.

Shapes: N images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from vaeflow.diagnosis.calibration import Calibration
from vaeflow.diagnosis.local_bounds import LocalBounds
from vaeflow.evaluation import Estimate, PerImage
from vaeflow.evaluation.active_units import ActiveUnits
from vaeflow.parts.abstract import Posterior

T = TypeVar("T")
Key = Mapping[str, Any]  # all that the figures of a stage depend on, as values of JSON


@dataclass(frozen=True)
class Figures:
    """What a stage found: tensors by name, and values of JSON."""

    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    plain: Mapping[str, Any] = field(default_factory=dict)


class Keeper(Protocol):
    """Keeps the figures of each stage; `vaeflow.diagnosis.stored.StageFiles` does so in files."""

    def get(self, stage: str, key: Key) -> Figures | None:
        """Return the figures that were put under this stage and an equal key, if there are any."""
        ...

    def put(self, stage: str, key: Key, figures: Figures) -> None:
        """Keep the figures of a stage that has just ended."""
        ...


@dataclass(frozen=True)
class Form(Generic[T]):
    """How a measurement becomes figures, and figures the same measurement, bit for bit."""

    pack: Callable[[T], Figures]
    unpack: Callable[[Figures], T]


def _pack_bounds(bounds: Mapping[str, PerImage]) -> Figures:
    tensors: dict[str, Tensor] = {}
    for name, bound in bounds.items():
        tensors |= {f"{name}.values": bound.values, f"{name}.errors": bound.errors}
    return Figures(tensors)


def _unpack_bounds(found: Figures) -> dict[str, PerImage]:
    names = [name.removesuffix(".values") for name in found.tensors if name.endswith(".values")]
    tensors = found.tensors
    return {n: PerImage(tensors[f"{n}.values"], tensors[f"{n}.errors"]) for n in names}


def _pack_calibration(found: Calibration) -> Figures:
    tensors = {name: value for name, value in vars(found).items() if name != "samples"}
    return Figures(tensors, {"samples": found.samples})


def _unpack_calibration(found: Figures) -> Calibration:
    fields: dict[str, Any] = {**found.tensors, **found.plain}
    return Calibration(**fields)


def _pack_units(units: ActiveUnits | None) -> Figures:
    return Figures(plain={"units": None if units is None else asdict(units)})


def _unpack_units(found: Figures) -> ActiveUnits | None:
    if (units := found.plain["units"]) is None:
        return None
    return ActiveUnits(**{**units, "variances": [Estimate(**one) for one in units["variances"]]})


LogDets = list[tuple[str, Estimate]]


def _pack_log_dets(found: LogDets | None) -> Figures:
    maps = None if found is None else [[name, asdict(estimate)] for name, estimate in found]
    return Figures(plain={"maps": maps})


def _unpack_log_dets(found: Figures) -> LogDets | None:
    maps = found.plain["maps"]
    return None if maps is None else [(name, Estimate(**estimate)) for name, estimate in maps]


BOUNDS = Form(_pack_bounds, _unpack_bounds)
CALIBRATION = Form(_pack_calibration, _unpack_calibration)
UNITS = Form(_pack_units, _unpack_units)
LOG_DETS = Form(_pack_log_dets, _unpack_log_dets)


def local_form(make_posterior: Callable[[int], Posterior], like: Tensor) -> Form[LocalBounds]:
    """Return the form of local bounds, with the q of each batch that they hold.

    Arguments:
        make_posterior: makes a q of the family, from a number of features.
        like: its type and device are those of the parameters.
    """

    def pack(found: LocalBounds) -> Figures:
        tensors = dict(_pack_bounds({"elbo": found.elbo, "iwae": found.iwae}).tensors)
        for i, posterior in enumerate(found.posteriors):
            tensors |= {f"q{i}.{name}": t for name, t in posterior.state_dict().items()}
        features = [posterior.features for posterior in found.posteriors]
        ended = {"gain": found.gain, "converged": found.converged}
        return Figures(tensors, {**ended, "features": features})

    def unpack(found: Figures) -> LocalBounds:
        plain, bounds, posteriors = found.plain, _unpack_bounds(found), []
        for i, features in enumerate(plain["features"]):
            with torch.random.fork_rng(devices=[]):  # the parameters it begins with are not kept
                posterior = make_posterior(features).to(like).eval()
            of = f"q{i}."
            kept = {n.removeprefix(of): t for n, t in found.tensors.items() if n.startswith(of)}
            posterior.load_state_dict(kept)
            posteriors.append(posterior)
        return LocalBounds(
            bounds["elbo"], bounds["iwae"], plain["gain"], plain["converged"], tuple(posteriors)
        )

    return Form(pack, unpack)
