"""Pyro: a model and its guide, programs as likelihoods, NUTS as a referee.

Within this room `import pyro` is the library, which is imported with the room and not before.
"""

from vaeflow.runtime.validation import validation_kept

with validation_kept():  # the user's own import decides whether torch checks arguments
    import pyro  # noqa: F401

from vaeflow.pyro.pair import as_pyro
from vaeflow.pyro.program import Program

__all__ = ["Program", "as_pyro"]
