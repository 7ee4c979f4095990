"""How a model is diagnosed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal, get_args

from pydantic import Field

from vaeflow.diagnosis.calibration import FEWEST_IMAGES
from vaeflow.diagnosis.local_bounds import Optimization
from vaeflow.evaluation.options import Count, Seed, Whole

Stage = Literal["ais", "gaps", "calibration", "log-dets"]
STAGES: tuple[Stage, ...] = get_args(Stage)
BATCH = 10  # images at a time in the long stages; a bar moves as often


@dataclass(frozen=True, kw_only=True)
class DiagnosisOptions:
    """How a model is diagnosed.

    Attributes:
        samples: K of the ELBO and of IWAE.
        temperatures, chains: of annealed importance sampling, one run for each of three bounds.
        simulated: images of the calibration.
        nuts: images, the first N, whose posteriors are drawn from by NUTS; 0 for none.
        skip: stages that are left out, of `STAGES`.
        seed: the diagnosis is a function of it.
        local: how the local q are optimized; their seed is the diagnosis's.
    """

    samples: Annotated[Whole, Field(ge=2)] = 5000
    temperatures: Annotated[Whole, Field(ge=2)] = 200
    chains: Count = 8
    simulated: Annotated[Whole, Field(ge=FEWEST_IMAGES)] = 1000
    nuts: Annotated[Whole, Field(ge=0)] = 0
    skip: Sequence[Stage] = ()
    seed: Seed = 0
    local: Optimization = field(default_factory=lambda: Optimization(batch=BATCH))
