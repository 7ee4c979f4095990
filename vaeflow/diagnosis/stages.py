"""The stages of a diagnosis: each a measurement that can be kept.

Shapes: N images, L latent size. All estimates are in nats per image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from vaeflow.data.examples import Data, as_examples
from vaeflow.diagnosis.annealing import Annealing, annealed, annealed_backwards
from vaeflow.diagnosis.calibration import Calibration, calibrate, simulate
from vaeflow.diagnosis.kept import (
    BOUNDS,
    CALIBRATION,
    LOG_DETS,
    UNITS,
    Form,
    Keeper,
    LogDets,
    local_form,
)
from vaeflow.diagnosis.local_bounds import GAUSSIAN, LocalBounds, local_bounds
from vaeflow.diagnosis.log_dets import log_dets
from vaeflow.diagnosis.measured import Bracket
from vaeflow.diagnosis.nuts import NUTS, Chains, NutsReferee, referee
from vaeflow.diagnosis.options import BATCH, DiagnosisOptions
from vaeflow.errors import ConfigError, NonFiniteError
from vaeflow.evaluation import ImageBounds, PerImage, evaluate_images
from vaeflow.evaluation.active_units import ActiveUnits, active_units
from vaeflow.evaluation.proposals.choice import choose
from vaeflow.evaluation.proposals.marginal import Precision
from vaeflow.model import VAE
from vaeflow.parts.abstract import Posterior
from vaeflow.reading import digest
from vaeflow.runtime.frozen import frozen
from vaeflow.runtime.noise import Noise
from vaeflow.runtime.progress import Advance, OpenBar, unseen
from vaeflow.version import __version__

Family = Callable[[int], Posterior]  # of a number of features
T = TypeVar("T")


class Stages:
    """The measurements of a diagnosis, each under a bar, or as a keeper has them from before."""

    def __init__(
        self,
        model: VAE,
        x: Data,
        options: DiagnosisOptions,
        keeper: Keeper | None,
        progress: OpenBar,
    ) -> None:
        self.model = model
        self.x = replace(as_examples(x), weight=None)  # each image has gaps of its own
        self.options, self.progress = options, progress
        self.keeper = keeper
        self.annealing = Annealing(
            temperatures=options.temperatures,
            chains=options.chains,
            batch=BATCH,
            seed=options.seed,
        )
        self.common = {  # of all stages' keys
            "vaeflow": __version__,
            "torch": torch.__version__,
            "device": model.device.type,
            "seed": options.seed,
            "weights": digest(model.state_dict()) if keeper else None,
        }

    def once(
        self,
        stage: str,
        form: Form[T],
        measure: Callable[[Advance], T],
        *,
        images: int,
        of: Mapping[str, Tensor],
        how: Mapping[str, Any],
    ) -> T:
        """Return a measurement: from the keeper if it has it, else measured and put there.

        Arguments:
            stage: its name, and what the bar is called.
            images: the length of the bar.
            of: the tensors on which the figures depend beside the weights.
            how: the options on which they depend.
        """
        key = {}
        if self.keeper is not None:
            key = {**self.common, "of": digest(of), "how": dict(how)}
            if (kept := self.keeper.get(stage, key)) is not None:
                return form.unpack(kept)
        with self.progress(images, stage) if images else nullcontext(unseen) as done:
            found = measure(done)
        if self.keeper is not None:
            self.keeper.put(stage, key, form.pack(found))
        return found

    def bounds(self, images: Data, what: str) -> tuple[PerImage, dict[str, PerImage]]:
        """Return the ELBO of each image, and lower bounds on log p(x) by name.

        They are the IWAE bound and, where all parts can be differentiated, the one by draws of a
        Laplace approximation.
        """
        how = {"samples": self.options.samples, "tolerance": Precision().tolerance}

        def measure(done: Advance) -> dict[str, PerImage]:
            kind = choose(self.model, images, "laplace").kind
            parts = evaluate_images(
                self.model,
                images,
                samples=self.options.samples,
                proposal=kind,
                seed=self.options.seed,
                progress=done,
            )
            found = ImageBounds.cat([*parts])
            if not found.finite:
                raise NonFiniteError(
                    f"the bound is not finite (ELBO {found.elbo.over_images}): look for images or "
                    "weights that the model cannot score, or diagnose other --weights"
                )
            bounds = {"elbo": found.elbo, "IWAE": -found.under_q}
            return bounds if kind == "q" else {**bounds, "Laplace": -found.nll}

        stage, of = f"IWAE of {what}", as_examples(images).tensors()
        found = self.once(stage, BOUNDS, measure, images=len(images), of=of, how=how)
        return found["elbo"], {name: found[name] for name in found if name != "elbo"}

    def annealed(self, images: Data, stage: str, z: Tensor | None = None) -> PerImage:
        """Return the bound of annealed importance sampling: from below, or from z from above."""

        def measure(done: Advance) -> dict[str, PerImage]:
            if z is None:
                found = annealed(self.model, images, self.annealing, progress=done)
            else:
                found = annealed_backwards(self.model, images, z, self.annealing, progress=done)
            return {"log_px": found.log_px}

        of = as_examples(images).tensors() | ({} if z is None else {"z": z})
        how = asdict(self.annealing)
        return self.once(stage, BOUNDS, measure, images=len(images), of=of, how=how)["log_px"]

    def bracket(self) -> Bracket:
        """Return both bounds on log p(x), of as many simulated images."""
        z, made = simulate(self.model, len(self.x), seed=self.options.seed, like=self.x)
        below = {
            **self.bounds(made, "simulated images")[1],
            "AIS": self.annealed(made, "annealing simulated images"),
        }
        above = self.annealed(made, "annealing them backwards", z)
        by = surest(below)
        return Bracket(below[by], by, above)

    def local(self, families: Mapping[str, Family]) -> dict[str, LocalBounds]:
        """Return the bounds under the best q of each family, in the order of the families."""
        found: dict[str, LocalBounds] = {}
        for name in sorted(families, key=lambda name: name != GAUSSIAN):  # the others start there
            found[name] = self._local(name, families[name], found.get(GAUSSIAN))
        return {name: found[name] for name in families}

    def _local(self, name: str, family: Family, gaussian: LocalBounds | None) -> LocalBounds:
        options = replace(self.options.local, seed=self.options.seed)

        def measure(done: Advance) -> LocalBounds:
            bounds = local_bounds(
                self.model, self.x, family, options, gaussian=gaussian, progress=done
            )
            # Of the others no q is needed but that of the first images, for the picture.
            needed = bounds.posteriors if name == GAUSSIAN else bounds.posteriors[:1]
            return replace(bounds, posteriors=needed)

        return self.once(
            f"local {name} q",
            local_form(family, self.x.values[:1].to(self.model.device)),
            measure,
            images=len(self.x),
            of=self.x.tensors(),
            how={**asdict(options), "from_gaussian": gaussian is not None},
        )

    def nuts(self) -> NutsReferee | None:
        """Return what NUTS says of the first images, if it is asked."""
        if not self.options.nuts:
            return None
        images = self.x[: self.options.nuts]
        chains = Chains(batch=BATCH, seed=self.options.seed)

        def measure(done: Advance) -> NutsReferee:
            return referee(self.model, images.read(), chains, progress=done)

        how = asdict(chains)
        return self.once("NUTS", NUTS, measure, images=len(images), of=images.tensors(), how=how)

    def calibration(self) -> Calibration:
        """Return the ranks of simulated z among draws of q(z|x)."""
        images, seed = self.options.simulated, self.options.seed

        def measure(done: Advance) -> Calibration:
            found = calibrate(self.model, images=images, seed=seed, like=self.x)
            done(images)
            return found

        return self.once(
            "calibration", CALIBRATION, measure, images=images, of={}, how={"simulated": images}
        )

    def log_dets(self) -> LogDets | None:
        """Return the log-determinant of each map, or None if q(z|x) is no flow."""

        def measure(done: Advance) -> LogDets | None:
            try:
                return log_dets(self.model, self.x, seed=self.options.seed)
            except ConfigError:
                return None

        return self.once("log-dets", LOG_DETS, measure, images=0, of=self.x.tensors(), how={})

    def active_units(self) -> ActiveUnits | None:
        """Return the active units, or None of a single image."""

        def measure(done: Advance) -> ActiveUnits | None:
            if len(self.x) < 2:
                return None
            noise = Noise(self.options.seed, self.model.device)
            with noise.private("active units"), frozen(self.model):
                return active_units(self.model, self.x)

        return self.once("active units", UNITS, measure, images=0, of=self.x.tensors(), how={})


def surest(bounds: Mapping[str, PerImage]) -> str:
    """Return the name of the bound that is highest after twice the noise of its draws is taken off.

    The highest of all would as a rule be the noisiest.
    """

    def sure(name: str) -> float:
        bound = bounds[name].over_images
        error = bound.monte_carlo_error
        return -math.inf if error is None else bound.mean - 2 * error

    return max(bounds, key=sure)
