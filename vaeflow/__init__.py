"""Variational autoencoders with normalizing-flow posteriors, made of parts chosen by name."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vaeflow.experiment import load
    from vaeflow.hookspecs import hookimpl
    from vaeflow.model import VAE
    from vaeflow.training import fit

__version__ = "0.1.0"
__all__ = ["VAE", "__version__", "fit", "hookimpl", "load"]

# Names are imported on first use: `import vaeflow` costs no torch, so that the command line
# answers --help at once.
_HOMES = {
    "VAE": "vaeflow.model",
    "fit": "vaeflow.training",
    "hookimpl": "vaeflow.hookspecs",
    "load": "vaeflow.experiment",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vaeflow' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
