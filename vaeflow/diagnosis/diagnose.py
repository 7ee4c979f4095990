"""Where a model loses log p(x) − ELBO: to the family of q, to the encoder, or to neither.

Shapes: N images, L latent size. All estimates are in nats per image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal, get_args

from pydantic import Field
from torch import Tensor

from vaeflow.diagnosis.annealing import Annealing, annealed, annealed_backwards
from vaeflow.diagnosis.calibration import FEWEST_IMAGES, Calibration, calibrate, simulate
from vaeflow.diagnosis.diagnosis import Diagnosis
from vaeflow.diagnosis.gaps import Gaps, split_gap
from vaeflow.diagnosis.local_bounds import GAUSSIAN, LocalBounds, Optimization, local_bounds
from vaeflow.diagnosis.log_dets import log_dets
from vaeflow.diagnosis.measured import Bracket
from vaeflow.errors import ConfigError, NonFiniteError
from vaeflow.evaluation import Estimate, ImageBounds, PerImage, evaluate_images
from vaeflow.evaluation.active_units import ActiveUnits, active_units
from vaeflow.evaluation.options import Count, Seed, Whole
from vaeflow.model import VAE
from vaeflow.parts.abstract import Posterior
from vaeflow.runtime.blame import Blame
from vaeflow.runtime.frozen import frozen
from vaeflow.runtime.noise import Noise
from vaeflow.runtime.progress import OpenBar, no_bar

Stage = Literal["ais", "gaps", "calibration", "log-dets"]
STAGES: tuple[Stage, ...] = get_args(Stage)
_BATCH = 10  # images at a time in the long stages; a bar moves as often
_LESS_MEMORY = "lower --chains, leave the stage out by --skip, or take --device cpu"

Family = Callable[[int], Posterior]  # of a number of features


@dataclass(frozen=True, kw_only=True)
class DiagnosisOptions:
    """How a model is diagnosed.

    Attributes:
        samples: K of the ELBO and of IWAE.
        temperatures, chains: of annealed importance sampling, one run for each of three bounds.
        simulated: images of the calibration.
        skip: stages that are left out, of `STAGES`.
        seed: the diagnosis is a function of it.
        local: how the local q are optimized; their seed is the diagnosis's.
    """

    samples: Annotated[Whole, Field(ge=2)] = 5000
    temperatures: Annotated[Whole, Field(ge=2)] = 200
    chains: Count = 8
    simulated: Annotated[Whole, Field(ge=FEWEST_IMAGES)] = 1000
    skip: Sequence[Stage] = ()
    seed: Seed = 0
    local: Optimization = field(default_factory=lambda: Optimization(batch=_BATCH))


def diagnose(
    model: VAE,
    x: Tensor,
    families: Mapping[str, Family],
    options: DiagnosisOptions | None = None,
    *,
    progress: OpenBar = no_bar,
) -> Diagnosis:
    r"""Split log p(x) − ELBO of the images x (N, *data_shape), and test each part.

    .. math:: \log p(x) - \mathrm{ELBO}(q_φ) =
        [\log p(x) - \mathrm{ELBO}(q^*)] + [\mathrm{ELBO}(q^*) - \mathrm{ELBO}(q_φ)]

    (Cremer et al. 2018.) The highest of the lower bounds, beyond their noise, stands for log p(x):
    IWAE, annealed importance sampling, and the IWAE bounds of the local q. Its distance from
    log p(x) is seen on as many images that the model made itself; these have an upper bound too.

    Arguments:
        model: evaluated on the device where it is, in evaluation mode.
        x: values that the likelihood can score.
        families: name -> a function from a number of features to a posterior; the model's own
            family comes first.
        options: how; by default all stages.
        progress: opens a bar over the images of each stage.

    Raises:
        NonFiniteError: if a bound is not a number.
        PluginError: naming the part that fails.
    """
    options = options or DiagnosisOptions()
    stages = _Stages(model, x, options, progress)
    with Blame(model, None).at(lambda: "in the diagnosis", _LESS_MEMORY):
        elbo, iwae = stages.bounds(x, "the images")
        log_px, bracket = {"IWAE": iwae}, None
        if "ais" not in options.skip:
            log_px["AIS"] = stages.annealed(x, "annealing")
            bracket = stages.bracket()
        local = {} if "gaps" in options.skip else stages.local(families)
        log_px |= {f"IWAE, local {name}": bounds.iwae for name, bounds in local.items()}
        return Diagnosis(
            samples=options.samples,
            elbo=elbo,
            log_px=log_px,
            bracket=bracket,
            local=local,
            gaps=_split(elbo, log_px, local),
            calibration=None if "calibration" in options.skip else stages.calibration(),
            log_dets=None if "log-dets" in options.skip else stages.log_dets(),
            units=stages.active_units(),
        )


class _Stages:
    """The measurements of a diagnosis, each under a bar."""

    def __init__(self, model: VAE, x: Tensor, options: DiagnosisOptions, progress: OpenBar) -> None:
        self.model, self.x, self.options, self.progress = model, x, options, progress
        self.annealing = Annealing(
            temperatures=options.temperatures,
            chains=options.chains,
            batch=_BATCH,
            seed=options.seed,
        )

    def bounds(self, images: Tensor, what: str) -> tuple[PerImage, PerImage]:
        """Return the ELBO and the IWAE bound of each image."""
        samples, seed = self.options.samples, self.options.seed
        with self.progress(len(images), f"IWAE of {what}") as done:
            parts = evaluate_images(self.model, images, samples=samples, seed=seed, progress=done)
            found = ImageBounds.cat([*parts])
        if not found.finite:
            raise NonFiniteError(
                f"the bound is not finite (ELBO {found.elbo.over_images}): look for images or "
                "weights that the model cannot score, or diagnose other --weights"
            )
        return found.elbo, -found.nll

    def annealed(self, images: Tensor, what: str) -> PerImage:
        """Return the bound of annealed importance sampling, from below."""
        with self.progress(len(images), what) as done:
            return annealed(self.model, images, self.annealing, progress=done).log_px

    def bracket(self) -> Bracket:
        """Return both bounds on log p(x), of as many simulated images."""
        z, made = simulate(self.model, len(self.x), seed=self.options.seed)
        below = {
            "IWAE": self.bounds(made, "simulated images")[1],
            "AIS": self.annealed(made, "annealing simulated images"),
        }
        with self.progress(len(made), "annealing them backwards") as done:
            above = annealed_backwards(self.model, made, z, self.annealing, progress=done).log_px
        by = _surest(below)
        return Bracket(below[by], by, above)

    def local(self, families: Mapping[str, Family]) -> dict[str, LocalBounds]:
        """Return the bounds under the best q of each family, in the order of the families."""
        found: dict[str, LocalBounds] = {}
        options = replace(self.options.local, seed=self.options.seed)
        for name in sorted(families, key=lambda name: name != GAUSSIAN):  # the others start there
            with self.progress(len(self.x), f"local {name} q") as done:
                found[name] = local_bounds(
                    self.model,
                    self.x,
                    families[name],
                    options,
                    gaussian=found.get(GAUSSIAN),
                    progress=done,
                )
        return {name: found[name] for name in families}

    def calibration(self) -> Calibration:
        """Return the ranks of simulated z among draws of q(z|x)."""
        images = self.options.simulated
        with self.progress(images, "calibration") as done:
            found = calibrate(self.model, images=images, seed=self.options.seed)
            done(images)
        return found

    def log_dets(self) -> list[tuple[str, Estimate]] | None:
        """Return the log-determinant of each map, or None if q(z|x) is no flow."""
        try:
            return log_dets(self.model, self.x, seed=self.options.seed)
        except ConfigError:
            return None

    def active_units(self) -> ActiveUnits | None:
        """Return the active units, or None of a single image."""
        if len(self.x) < 2:
            return None
        with (
            Noise(self.options.seed, self.model.device).private("active units"),
            frozen(self.model),
        ):
            return active_units(self.model, self.x)


def _surest(bounds: Mapping[str, PerImage]) -> str:
    """Return the name of the bound that is highest after twice the noise of its draws is taken off.

    The highest of all would as a rule be the noisiest.
    """

    def sure(name: str) -> float:
        bound = bounds[name].over_images
        error = bound.monte_carlo_error
        return -math.inf if error is None else bound.mean - 2 * error

    return max(bounds, key=sure)


def _split(
    elbo: PerImage, log_px: Mapping[str, PerImage], local: Mapping[str, LocalBounds]
) -> Gaps:
    by = _surest(log_px)
    own, *others = [bounds.elbo for bounds in local.values()] or [elbo]
    return split_gap(elbo, own, {by: log_px[by]}, dict(zip([*local][1:], others, strict=True)))
