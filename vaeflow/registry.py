"""Names of parts and who brought them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from vaeflow.errors import ConfigError, PluginError, did_you_mean

KINDS = ("dataset", "encoder", "posterior", "prior", "decoder", "likelihood", "objective")
BUILTIN = "vaeflow"  # the distribution that owns the built-in parts

# Where the abstract class of each kind lives; imported only to check a loaded part.
_BASES = {
    "dataset": "vaeflow.data:Dataset",
    "encoder": "vaeflow.components:Encoder",
    "posterior": "vaeflow.components:Posterior",
    "prior": "vaeflow.components:Prior",
    "decoder": "vaeflow.components:Decoder",
    "likelihood": "vaeflow.components:Likelihood",
    "objective": "vaeflow.objectives:Objective",
}


@dataclass(frozen=True)
class Part:
    """A registered part: its kind and name, the distribution that brought it, and its class."""

    kind: str
    name: str
    distribution: str
    version: str
    target: str | type

    @property
    def qualified(self) -> str:
        """Return the name that no other distribution can claim, "distribution/name"."""
        return f"{self.distribution}/{self.name}"

    def load(self) -> type:
        """Import the part's class.

        Raises:
            PluginError: if it cannot be imported or is no subclass of its kind.
        """
        who = f"{self.kind} {self.name!r} from {self.distribution} {self.version}"
        loaded: Any = self.target
        if isinstance(self.target, str):
            try:
                loaded = _import(self.target)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # a part may even call sys.exit()
                raise PluginError(
                    f"{who} cannot be imported from {self.target} "
                    f"({type(error).__name__}: {error}): repair or reinstall {self.distribution}"
                ) from error
        base = _import(_BASES[self.kind])
        if not (isinstance(loaded, type) and issubclass(loaded, base)):
            raise PluginError(
                f"{who} is {loaded!r}, but a subclass of {base.__module__}.{base.__name__} is "
                f"expected: tell the authors of {self.distribution}"
            )
        return loaded


class Registry:
    """The parts of every kind by name. Two owners of one name are an error only at its use."""

    def __init__(self) -> None:
        self._parts: dict[str, dict[str, list[Part]]] = {kind: {} for kind in KINDS}

    def add(self, *parts: Part) -> None:
        """Register parts: all of them or, if one fails, none.

        Raises:
            PluginError: if a distribution registers a name twice.
        """
        taken = {(p.kind, p.qualified) for kind in KINDS for p in self.parts(kind)}
        for part in parts:
            if (part.kind, part.qualified) in taken:
                raise PluginError(
                    f"{part.distribution} registers {part.kind} {part.name!r} twice: rename one"
                )
            taken.add((part.kind, part.qualified))
        for part in parts:
            self._parts[part.kind].setdefault(part.name, []).append(part)

    def parts(self, kind: str) -> list[Part]:
        """Return all parts of a kind, sorted by name, then by owner (built-ins first)."""
        return sorted(
            (part for owners in self._parts[kind].values() for part in owners),
            key=lambda p: (p.name, p.distribution != BUILTIN, p.distribution),
        )

    def get(self, kind: str, name: str) -> Part:
        """Return the part called "name" or "distribution/name"; built-ins win their own names.

        Raises:
            ConfigError: if there is none, or several distributions offer it.
        """
        parts = self.parts(kind)
        owners = [p for p in parts if name in (p.name, p.qualified)]
        if not owners:
            names = sorted({p.name for p in parts})
            raise ConfigError(
                f"--{kind} {name}: unknown {kind}"
                f"{did_you_mean(name, names + [p.qualified for p in parts])}; "
                f"there are {', '.join(names)}"
            )
        if len(owners) > 1 and owners[0].distribution != BUILTIN:
            spellings = " or ".join(p.qualified for p in owners)
            raise ConfigError(
                f"--{kind} {name}: offered by {' and '.join(p.distribution for p in owners)}: "
                f"write {spellings}"
            )
        return owners[0]


def _import(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)
