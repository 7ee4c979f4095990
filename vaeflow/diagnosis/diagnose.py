"""Where a model loses log p(x) − ELBO: to the family of q, to the encoder, or to neither.

Shapes: N images. All estimates are in nats per image.
"""

from __future__ import annotations

from collections.abc import Mapping

from vaeflow.data.examples import Data
from vaeflow.diagnosis.diagnosis import Diagnosis
from vaeflow.diagnosis.gaps import Gaps, split_gap
from vaeflow.diagnosis.kept import Keeper
from vaeflow.diagnosis.local_bounds import LocalBounds
from vaeflow.diagnosis.options import DiagnosisOptions
from vaeflow.diagnosis.stages import Family, Stages, surest
from vaeflow.evaluation import PerImage
from vaeflow.model import VAE
from vaeflow.runtime.blame import Blame
from vaeflow.runtime.progress import OpenBar, no_bar

_LESS_MEMORY = "lower --chains, leave the stage out by --skip, or take --device cpu"


def diagnose(
    model: VAE,
    x: Data,
    families: Mapping[str, Family],
    options: DiagnosisOptions | None = None,
    *,
    keeper: Keeper | None = None,
    progress: OpenBar = no_bar,
) -> Diagnosis:
    r"""Split log p(x) − ELBO of the images x (N, *data_shape), and test each part.

    .. math:: \log p(x) - \mathrm{ELBO}(q_φ) =
        [\log p(x) - \mathrm{ELBO}(q^*)] + [\mathrm{ELBO}(q^*) - \mathrm{ELBO}(q_φ)]

    (Cremer et al. 2018.) The highest of the lower bounds, beyond their noise, stands for log p(x):
    IWAE, a Laplace proposal (see `marginal`), annealed importance sampling, and the IWAE bounds of
    the local q. Its distance from log p(x) is seen on as many images that the model made itself;
    these have an upper bound too.

    Arguments:
        model: evaluated on the device where it is, in evaluation mode.
        x: values that the likelihood can score.
        families: name -> a function from a number of features to a posterior; the model's own
            family comes first.
        options: how; by default all stages.
        keeper: gets the figures of each stage as it ends, and gives back those that it has from
            before: the outcome is the same to the bit. It is told the names of the families alone.
        progress: opens a bar over the images of each stage that is measured.

    Raises:
        NonFiniteError: if a bound is not a number.
        PluginError: naming the part that fails.
    """
    options = options or DiagnosisOptions()
    stages = Stages(model, x, options, keeper, progress)
    with Blame(model, None).at(lambda: "in the diagnosis", _LESS_MEMORY):
        elbo, log_px = stages.bounds(x, "the images")
        bracket = None
        if "ais" not in options.skip:
            log_px["AIS"] = stages.annealed(x, "annealing")
            bracket = stages.bracket()
        local = {} if "gaps" in options.skip else stages.local(families)
        nuts = stages.nuts()
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
            nuts=nuts,
        )


def _split(
    elbo: PerImage, log_px: Mapping[str, PerImage], local: Mapping[str, LocalBounds]
) -> Gaps:
    by = surest(log_px)
    own, *others = [bounds.elbo for bounds in local.values()] or [elbo]
    return split_gap(elbo, own, {by: log_px[by]}, dict(zip([*local][1:], others, strict=True)))
