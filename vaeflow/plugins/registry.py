"""The names of parts and tools, and the distributions that brought them."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from vaeflow.errors import ConfigError, PluginError, did_you_mean, is_interrupt, one_line
from vaeflow.plugins.containment import importing
from vaeflow.plugins.trace import traced

KINDS = ("dataset", "encoder", "posterior", "prior", "decoder", "likelihood", "objective")
TOOLS = ("engine", "command")  # what plugins bring beside the parts of a model
BUILTIN = "vaeflow"  # the distribution that owns the built-in parts

# The abstract class of each kind, imported only to check a loaded part, and the arguments that its
# constructor takes by position.
_CONTRACTS = {
    "dataset": ("vaeflow.parts:Dataset", ("root",)),
    "encoder": ("vaeflow.parts:Encoder", ("data_shape",)),
    "posterior": ("vaeflow.parts:Posterior", ("latent", "features")),
    "prior": ("vaeflow.parts:Prior", ("latent", "data_shape")),
    "decoder": ("vaeflow.parts:Decoder", ("latent", "output_shape")),
    "likelihood": ("vaeflow.parts:Likelihood", ("data_shape",)),
    "objective": ("vaeflow.parts:Objective", ()),
}
_APIS = (1,)  # versions of the parts' interface that this vaeflow can use


@dataclass(frozen=True)
class Part:
    """A registered part: its kind and name, the distribution that brought it, and its class."""

    kind: str
    name: str
    distribution: str
    version: str
    target: Any  # the class, or where it is: "package.module:Class"

    @property
    def qualified(self) -> str:
        """Return the name that no other distribution can claim, "distribution/name"."""
        return f"{self.distribution}/{self.name}"

    @property
    def owner(self) -> str:
        """Return kind, name, distribution and version, as messages name a part."""
        return f"{self.kind} {self.name!r} from {self.distribution} {self.version}"

    def load(self) -> type:
        """Import the part's class and check it, as far as that needs no instance.

        Raises:
            PluginError: if it cannot be imported or does not keep the interface of its kind.
        """
        part: Any = self._imported()
        self._refuse(_fault(self.kind, part))
        if part.api not in _APIS:
            older = isinstance(part.api, int) and part.api < min(_APIS)
            raise PluginError(
                f"{self.owner} is written for version {part.api!r} of the interface of parts, "
                f"but this vaeflow has version {max(_APIS)}: `pip install --upgrade "
                f"{self.distribution if older else 'vaeflow'}`"
            )
        found: type = part
        return found

    def _imported(self) -> Any:
        if not isinstance(self.target, str):
            return self.target
        try:
            trusted = self.distribution == BUILTIN
            if trusted:
                return _import(self.target)
            with importing(self.owner), traced(f"import of {self.owner}"):
                return _import(self.target)
        except BaseException as error:  # a part may even call sys.exit()
            if is_interrupt(error):
                raise
            raise PluginError(
                f"{self.owner} cannot be imported from {self.target} ({one_line(error)}): "
                f"repair or reinstall {self.distribution}"
            ) from error

    def _refuse(self, fault: str) -> None:
        if fault:
            raise PluginError(f"{self.owner} {fault}: tell the authors of {self.distribution}")


@dataclass(frozen=True)
class Tool(Part):
    """An engine, which spreads runs, or a command of `vaeflow`, which has a line of help."""

    summary: str = ""

    def load(self) -> Any:
        """Import the function or the command, and check that it is one.

        Raises:
            PluginError: if it cannot be imported or is none.
        """
        tool = self._imported()
        self._refuse(_no_engine(tool) if self.kind == "engine" else _no_command(tool))
        return tool


def _no_engine(tool: Any) -> str:
    try:
        inspect.signature(tool).bind("tasks", "jobs", "stop")
    except (TypeError, ValueError):
        return f"is {tool!r}, but a function of (tasks, jobs, stop) is expected"
    return ""


def _no_command(tool: Any) -> str:
    import click

    known = isinstance(tool, click.Command)
    return "" if known else f"is {tool!r}, but a command of click is expected"


def _fault(kind: str, loaded: Any) -> str:
    """Return how a class breaks the interface of its kind, or an empty text."""
    target, sizes = _CONTRACTS[kind]
    base = _import(target)
    if not (isinstance(loaded, type) and issubclass(loaded, base)):
        return f"is {loaded!r}, but a subclass of {target.replace(':', '.')} is expected"
    if missing := sorted(getattr(loaded, "__abstractmethods__", ())):
        return f"lacks the method {' and '.join(missing)}"
    try:
        signature = inspect.signature(loaded)
        options = [p for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY]
        signature.bind(*sizes, **{option.name: None for option in options})
    except TypeError as error:
        wanted = ", ".join((*sizes, "*", "option=…"))
        return f"has a constructor that cannot be called as {loaded.__name__}({wanted}) ({error})"
    except ValueError:  # a constructor without a signature, such as one of an extension module
        pass
    return ""


class Registry:
    """The parts of every kind by name. Two owners of one name are an error only at its use."""

    def __init__(self) -> None:
        self._parts: dict[str, dict[str, list[Part]]] = {kind: {} for kind in (*KINDS, *TOOLS)}

    def add(self, *parts: Part) -> None:
        """Register parts: all of them or, if one fails, none.

        Raises:
            PluginError: if a distribution registers a name twice.
        """
        taken = {(p.kind, p.qualified) for kind in self._parts for p in self.parts(kind)}
        for part in parts:
            if (part.kind, part.qualified) in taken:
                raise PluginError(
                    f"{part.distribution} registers {part.kind} {part.name!r} twice: rename one"
                )
            taken.add((part.kind, part.qualified))
        for part in parts:
            self._parts[part.kind].setdefault(part.name, []).append(part)

    def remove(self, *parts: Part) -> None:
        """Forget parts that were registered."""
        for part in parts:
            self._parts[part.kind][part.name].remove(part)

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
        asked = name if kind == "command" else f"--{kind} {name}"
        owners = [p for p in parts if name in (p.name, p.qualified)]
        if not owners:
            order = [*self._parts[kind]].index if kind == "command" else None  # as --help has them
            names = sorted({p.name for p in parts}, key=order)
            raise ConfigError(
                f"{asked}: unknown {kind}"
                f"{did_you_mean(name, names + [p.qualified for p in parts])}; "
                f"there are {', '.join(names)}"
            )
        if len(owners) > 1 and owners[0].distribution != BUILTIN:
            spellings = " or ".join(p.qualified for p in owners)
            raise ConfigError(
                f"{asked}: offered by {' and '.join(p.distribution for p in owners)}: "
                f"write {spellings}"
            )
        return owners[0]

    def spelling(self, part: Part) -> str:
        """Return the shortest name that means this part and no other."""
        owners = [p for p in self.parts(part.kind) if p.name == part.name]
        alone = len(owners) == 1 or part.distribution == BUILTIN
        return part.name if alone else part.qualified


def _import(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)
