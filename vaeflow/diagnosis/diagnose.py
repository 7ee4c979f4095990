"""Where a model loses log p(x) − ELBO: to the family of q, to the encoder, or to neither.

Shapes: N images, L latent size. All figures are in nats per image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

from torch import Tensor

from vaeflow.diagnosis.annealing import annealed, annealed_backwards
from vaeflow.diagnosis.calibration import calibrate, simulate
from vaeflow.diagnosis.diagnosis import Diagnosis
from vaeflow.diagnosis.gaps import Gaps, split_gap
from vaeflow.diagnosis.local_bounds import GAUSSIAN, LocalBounds, local_bounds
from vaeflow.diagnosis.log_dets import log_dets
from vaeflow.diagnosis.measured import Bracket
from vaeflow.errors import ConfigError, NonFiniteError
from vaeflow.evaluation import Estimate, ImageBounds, PerImage, evaluate_images
from vaeflow.evaluation.active_units import active_units
from vaeflow.model import VAE
from vaeflow.parts.abstract import Posterior
from vaeflow.runtime.blame import Blame
from vaeflow.runtime.frozen import frozen
from vaeflow.runtime.noise import Noise
from vaeflow.runtime.progress import Advance, OpenBar, no_bar

STAGES = ("ais", "gaps", "calibration", "log-dets")
_BATCH = 10  # images at a time, of what takes long; a bar moves as often

Family = Callable[[int], Posterior]  # of a number of features


def diagnose(
    model: VAE,
    x: Tensor,
    families: Mapping[str, Family],
    *,
    samples: int = 5000,
    temperatures: int = 200,
    chains: int = 8,
    simulated: int = 1000,
    skip: Collection[str] = (),
    seed: int = 0,
    progress: OpenBar = no_bar,
    **local: Any,
) -> Diagnosis:
    r"""Split log p(x) − ELBO of the images x (N, *data_shape), and test what it is made of.

    .. math:: \log p(x) - \mathrm{ELBO}(q_φ) =
        [\log p(x) - \mathrm{ELBO}(q^*)] + [\mathrm{ELBO}(q^*) - \mathrm{ELBO}(q_φ)]

    (Cremer et al. 2018.) For log p(x) stands the highest of its lower bounds, beyond their noise:
    IWAE, annealed importance sampling, and the IWAE bounds of the local q. How far below it they
    are is seen on as many images that the model made itself, which are bounded from above as well.

    Arguments:
        model: evaluated on the device where it is, in evaluation mode.
        x: values that the likelihood can score.
        families: by name, a number of features to a posterior; the model's own is the first.
        samples: K of the ELBO and of IWAE.
        temperatures, chains: of annealed importance sampling, one run for each of three bounds.
        simulated: images of the calibration.
        skip: stages that are left out, of `STAGES`.
        seed: the result is a function of it.
        progress: opens a bar over the images of each stage.
        local: other options of `local_bounds`, such as `rounds`.

    Raises:
        NonFiniteError: if a bound is not a number.
        PluginError: naming the part that fails.
    """
    n = len(x)
    options: dict[str, Any] = {"temperatures": temperatures, "chains": chains, "batch": _BATCH}
    options["seed"] = seed

    def bounds(images: Tensor, what: str) -> tuple[PerImage, PerImage]:
        with progress(len(images), f"IWAE of {what}") as done:
            return _bounds(model, images, samples, seed, done)

    with Blame(model, None).at(lambda: "in the diagnosis"):
        elbo, iwae = bounds(x, "the images")
        log_px, bracket = {"IWAE": iwae}, None
        if "ais" not in skip:
            with progress(n, "annealing") as done:
                log_px["AIS"] = annealed(model, x, progress=done, **options).log_px
            z, made = simulate(model, n, seed=seed)
            below = {"IWAE": bounds(made, "simulated images")[1]}
            with progress(n, "annealing simulated images") as done:
                below["AIS"] = annealed(model, made, progress=done, **options).log_px
            with progress(n, "annealing them backwards") as done:
                above = annealed_backwards(model, made, z, progress=done, **options).log_px
            by = _surest(below)
            bracket = Bracket(below[by], by, above)
        found: dict[str, LocalBounds] = {}
        names = [] if "gaps" in skip else [*families]
        options = {"seed": seed, "batch": _BATCH, **local}
        for name in sorted(names, key=lambda name: name != GAUSSIAN):  # the others start there
            with progress(n, f"local {name} q") as done:
                found[name] = local_bounds(
                    model,
                    x,
                    families[name],
                    gaussian=found.get(GAUSSIAN),
                    progress=done,
                    **options,
                )
        found = {name: found[name] for name in names}
        for name in names:
            log_px[f"IWAE, local {name}"] = found[name].iwae
        calibration = None
        if "calibration" not in skip:
            with progress(simulated, "calibration") as done:
                calibration = calibrate(model, images=simulated, seed=seed)
                done(simulated)
        return Diagnosis(
            samples=samples,
            elbo=elbo,
            log_px=log_px,
            bracket=bracket,
            local=found,
            gaps=_split(elbo, log_px, found),
            calibration=calibration,
            log_dets=None if "log-dets" in skip else _log_dets(model, x, seed),
            active_units=_active(model, x, seed),
        )


def _bounds(
    model: VAE, x: Tensor, samples: int, seed: int, done: Advance
) -> tuple[PerImage, PerImage]:
    """Return the ELBO and IWAE bound of each image."""
    parts = evaluate_images(model, x, samples=samples, seed=seed, progress=done)
    figures = ImageBounds.cat([*parts])
    if not figures.finite:
        raise NonFiniteError(
            f"the bound is not finite (ELBO {figures.elbo.over_images}): look for images or "
            "weights that the model cannot score, or diagnose other --weights"
        )
    return figures.elbo, -figures.nll


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


def _log_dets(model: VAE, x: Tensor, seed: int) -> list[tuple[str, Estimate]] | None:
    """Return the share of each map, or None if q(z|x) is no flow."""
    try:
        return log_dets(model, x, seed=seed)
    except ConfigError:
        return None


def _active(model: VAE, x: Tensor, seed: int) -> int | None:
    if len(x) < 2:
        return None
    with Noise(seed, model.device).private("active units"), frozen(model):
        return active_units(model, x.to(model.device))
