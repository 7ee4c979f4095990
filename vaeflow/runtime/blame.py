"""Naming the part in which a training failed, and who brought it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch

from vaeflow.errors import ConfigError, PluginError, VaeflowError, is_interrupt, one_line
from vaeflow.model import VAE
from vaeflow.parts.abstract import Objective

_LESS_MEMORY = "lower --batch-size or --objective.samples, or take a smaller network"


class Blame:
    """Turns the exception of a part into an error that names the part.

    Arguments:
        owners: kind -> how messages call the part and its distribution; by default its class.
    """

    def __init__(
        self, model: VAE, objective: Objective | None, owners: Mapping[str, str] | None = None
    ) -> None:
        self.parts: dict[str, object] = dict(model.named_children())
        # f_locals.get("self") is None in plain functions, and would match a None objective.
        if objective is not None:
            self.parts["objective"] = objective
        self.owners = {k: f"{k} {type(part).__name__}" for k, part in self.parts.items()}
        self.owners |= owners or {}

    def owner(self, part: object) -> str:
        """Return how messages call one of the parts."""
        return next(self.owners[kind] for kind, own in self.parts.items() if own is part)

    def named(self, error: BaseException) -> str:
        """Return how messages call the part in whose code an exception arose."""
        return self.owners.get(self._culprit(error), "the training")

    @contextmanager
    def at(
        self, where: Callable[[], str], cure: str = _LESS_MEMORY, suspect: object = None
    ) -> Iterator[None]:
        """Blame the part in whose code an exception arises; `where()` is asked only then.

        Arguments:
            where: tells at which step or in which stage.
            cure: of exhausted memory, where another than a smaller training step helps.
            suspect: the part to blame where the exception arises in no part's code.

        Raises:
            PluginError: naming the part, its distribution, and where it failed.
            ConfigError: if memory ran out.
        """
        try:
            yield
        except VaeflowError:
            raise
        except BaseException as error:  # a part may even call sys.exit()
            if is_interrupt(error):
                raise
            owner = self.named(error)
            if suspect is not None and owner not in self.owners.values():
                owner = self.owner(suspect)
            if _out_of_memory(error):
                raise ConfigError(f"{owner} ran out of memory {where()}: {cure}") from error
            if owner not in self.owners.values():
                raise
            raise PluginError(
                f"{owner} failed {where()} ({one_line(error)}): --debug says where"
            ) from error

    def _culprit(self, error: BaseException) -> str:
        """Return the kind of the innermost part on the stack, or an empty text.

        A frame belongs to a part if it is a method of the part. Where no frame is, it belongs to
        the part whose module holds its code, such as the code of a distribution.
        """
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)][::-1]
        for frame in frames:
            for kind, part in self.parts.items():
                if frame.f_locals.get("self") is part:
                    return kind
        for frame in frames:
            for kind, part in self.parts.items():
                if frame.f_globals.get("__name__") == type(part).__module__:
                    return kind
        return ""


def _out_of_memory(error: BaseException) -> bool:
    # On the CPU, torch raises a plain RuntimeError.
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or "can't allocate memory" in one_line(error)
