"""Variational autoencoders with normalizing-flow posteriors, made of parts chosen by name.

A run by names, as from the shell:    run = vaeflow.train(posterior="planar", dataset="digits")
A model of one's own data:            model = vaeflow.build(x.shape[1:], posterior="planar")
                                      fitted = vaeflow.fit(model, x, validation=v)
Its figures and its draws:            vaeflow.evaluate(model, x).nll, model.sample(16)
Runs side by side:                    vaeflow.compare("runs/a", "runs/b")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vaeflow.version import __version__

if TYPE_CHECKING:
    from vaeflow.comparison.board import tensorboard
    from vaeflow.comparison.by_name import compare
    from vaeflow.comparison.curves import curves
    from vaeflow.evaluation.arrays import evaluate
    from vaeflow.hub.hub import pull, push
    from vaeflow.model import VAE
    from vaeflow.parts import (
        datasets,
        decoders,
        encoders,
        likelihoods,
        objectives,
        posteriors,
        priors,
    )
    from vaeflow.plugins.hookspecs import hookimpl
    from vaeflow.runs.by_name import build, diagnose, train
    from vaeflow.runs.codes import encode
    from vaeflow.runs.export import export
    from vaeflow.runs.imputation import impute
    from vaeflow.runs.latent import latent
    from vaeflow.runs.load import load
    from vaeflow.runs.save import save
    from vaeflow.runs.scoring import score
    from vaeflow.runs.walks import interpolate, traverse
    from vaeflow.runtime.doctor import doctor
    from vaeflow.training.fit import fit
    from vaeflow.tuning.tune import tune

__all__ = [
    "VAE",
    "__version__",
    "build",
    "compare",
    "curves",
    "datasets",
    "decoders",
    "diagnose",
    "doctor",
    "encode",
    "encoders",
    "evaluate",
    "export",
    "fit",
    "hookimpl",
    "impute",
    "interpolate",
    "latent",
    "likelihoods",
    "load",
    "objectives",
    "posteriors",
    "priors",
    "pull",
    "push",
    "save",
    "score",
    "tensorboard",
    "train",
    "traverse",
    "tune",
]

# Names are imported on first use: `import vaeflow` costs no torch, so that the command line
# answers --help at once.
_HOMES = {
    "VAE": "vaeflow.model:VAE",
    "build": "vaeflow.runs.by_name:build",
    "compare": "vaeflow.comparison.by_name:compare",
    "curves": "vaeflow.comparison.curves:curves",
    "datasets": "vaeflow.parts.datasets",
    "decoders": "vaeflow.parts.decoders",
    "diagnose": "vaeflow.runs.by_name:diagnose",
    "doctor": "vaeflow.runtime.doctor:doctor",
    "encode": "vaeflow.runs.codes:encode",
    "encoders": "vaeflow.parts.encoders",
    "evaluate": "vaeflow.evaluation.arrays:evaluate",
    "export": "vaeflow.runs.export:export",
    "fit": "vaeflow.training.fit:fit",
    "hookimpl": "vaeflow.plugins.hookspecs:hookimpl",
    "impute": "vaeflow.runs.imputation:impute",
    "interpolate": "vaeflow.runs.walks:interpolate",
    "latent": "vaeflow.runs.latent:latent",
    "likelihoods": "vaeflow.parts.likelihoods",
    "load": "vaeflow.runs.load:load",
    "objectives": "vaeflow.parts.objectives",
    "posteriors": "vaeflow.parts.posteriors",
    "priors": "vaeflow.parts.priors",
    "pull": "vaeflow.hub.hub:pull",
    "push": "vaeflow.hub.hub:push",
    "pyro": "vaeflow.pyro",
    "save": "vaeflow.runs.save:save",
    "score": "vaeflow.runs.scoring:score",
    "sklearn": "vaeflow.sklearn",
    "tensorboard": "vaeflow.comparison.board:tensorboard",
    "train": "vaeflow.runs.by_name:train",
    "traverse": "vaeflow.runs.walks:traverse",
    "tune": "vaeflow.tuning.tune:tune",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vaeflow' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    home = import_module(module)
    return getattr(home, attribute) if attribute else home


def __dir__() -> list[str]:
    return __all__
