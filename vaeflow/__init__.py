"""Variational autoencoders with normalizing-flow posteriors, made of parts chosen by name."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vaeflow.version import __version__

if TYPE_CHECKING:
    from vaeflow.model import VAE
    from vaeflow.plugins.hookspecs import hookimpl
    from vaeflow.runs.load import load
    from vaeflow.training.fit import fit

__all__ = ["VAE", "__version__", "fit", "hookimpl", "load"]

# Names are imported on first use: `import vaeflow` costs no torch, so that the command line
# answers --help at once.
_HOMES = {
    "VAE": "vaeflow.model",
    "fit": "vaeflow.training.fit",
    "hookimpl": "vaeflow.plugins.hookspecs",
    "load": "vaeflow.runs.load",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vaeflow' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
