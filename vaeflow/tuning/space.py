"""What a search varies: settings and options by name, each with a range or a choice of values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from vaeflow.benchmark.grid import split_values
from vaeflow.config.settings import Config, setting_fields
from vaeflow.errors import ConfigError, did_you_mean
from vaeflow.options import options_model
from vaeflow.plugins.loading import Plugins
from vaeflow.plugins.registry import KINDS
from vaeflow.text import alternatives, is_of, show, type_name

_RANGE = re.compile(r"(?P<low>.+?)\.\.(?P<high>[^:]+)(?::(?P<scale>.*))?")
# A trial's figure is of the validation data: with other data, or other values of it, it is no
# longer comparable. The seed is the luck of a trial.
_OF_DATA = ("dataset", "data_root", "binarization", "dequantize", "condition", "missing", "seed")


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; on a logarithmic scale with `log`."""

    low: float
    high: float
    whole: bool
    log: bool = False

    def __str__(self) -> str:
        return f"{show(self.low)}..{show(self.high)}{':log' * self.log}"

    @property
    def ends(self) -> tuple[float, ...]:
        """Return the values by which the option's bounds are checked."""
        return self.low, self.high

    def short(self, drawn: float) -> float:
        """Return a number of few digits within the range: commands show it."""
        return drawn if self.whole else min(max(float(f"{drawn:.4g}"), self.low), self.high)


@dataclass(frozen=True)
class Choice:
    """Values as the command line writes them."""

    values: tuple[str, ...]

    def __str__(self) -> str:
        return ",".join(f"[{v}]" if "," in v and v[0] != "[" else v for v in self.values)

    @property
    def ends(self) -> tuple[str, ...]:
        """Return all of them, which are checked one by one."""
        return self.values


Domain: TypeAlias = Range | Choice
Space: TypeAlias = Mapping[str, Domain]


def read_space(
    given: Mapping[str, object], base: Mapping[str, str], plugins: Plugins
) -> dict[str, Domain]:
    """Return what is varied, the choices of parts first.

    Arguments:
        given: name -> "4..32", "1e-4..1e-2:log", "planar,iaf", a list of values, or None for all
            the values that an option has.
        base: kind -> the part that is chosen where the kind is not varied.
        plugins: where parts are looked up.

    Raises:
        ConfigError: for a name, a range or a value that cannot be used.
    """
    texts = {key.strip().replace("-", "_"): value for key, value in given.items()}
    if not texts:
        raise ConfigError(
            "there is nothing to tune: name an option and its range, as in --tune "
            "posterior.steps=4..32"
        )
    ordered = sorted(texts, key=lambda key: ("." in key, key not in KINDS))
    space: dict[str, Domain] = {}
    for key in ordered:
        kind = key.partition(".")[0]
        if kind in _OF_DATA:
            raise ConfigError(
                f"--tune {key}: trials are compared on the same validation data, with the same "
                "seed: vary something else"
            )
        if key in KINDS:
            space[key] = _choice(key, _words(key, texts[key]))
            for name in space[key].ends:
                plugins.require(key, str(name))
            continue
        annotation, told = _type(key, names_of(space, base).get(kind, ()), plugins)
        space[key] = _domain(key, texts[key], annotation, told)
    return space


def names_of(space: Space, base: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return kind -> the parts that trials choose among."""
    return {
        kind: tuple(map(str, space[kind].ends)) if kind in space else (name,)
        for kind, name in base.items()
    }


def has_option(kind: str, name: str, option: str, plugins: Plugins) -> bool:
    """Tell whether a part has an option."""
    return option in options_model(plugins.require(kind, name).load()).model_fields


def _type(key: str, names: Sequence[str], plugins: Plugins) -> tuple[Any, str]:
    """Return the type of an option or a setting, and its name in words."""
    kind, dot, option = key.partition(".")
    known = [*setting_fields(), *KINDS]
    if kind not in known or (dot and kind not in KINDS):
        raise ConfigError(
            f"--tune {key}: unknown setting{did_you_mean(kind, known)}; `vaeflow train --help` "
            "lists them, and a part's option is written KIND.OPTION, as in posterior.steps"
        )
    if not dot:
        field = Config.model_fields[key]
        return field.annotation, type_name(field.annotation, field.metadata)
    found: list[str] = []
    for name in names:
        fields = options_model(plugins.require(kind, name).load()).model_fields
        if option in fields:
            field = fields[option]
            return field.annotation, type_name(field.annotation, field.metadata)
        found += fields
    raise ConfigError(
        f"--tune {key}: unknown option{did_you_mean(option, found)}; {' and '.join(names)} "
        f"{'has' if len(names) == 1 else 'have'} the options {', '.join(dict.fromkeys(found))}"
    )


def _domain(key: str, given: object, annotation: Any, told: str) -> Domain:
    """Return a range, or a choice, of an option of such a type."""
    if given is None:
        values = alternatives(annotation)
        if not values:
            example = "4..32" if is_of(annotation, int) else "1e-4..1e-2:log"
            raise ConfigError(
                f"--tune {key}: its values ({told}) are too many to try all: give a range such as "
                f"{key}={example}, or values such as {key}=V1,V2"
            )
        return _choice(key, [show(value) for value in values])
    match = _RANGE.fullmatch(given) if isinstance(given, str) else None
    if match is None:
        return _choice(key, _words(key, given))
    whole = is_of(annotation, int)
    if not whole and not is_of(annotation, float):
        raise ConfigError(
            f"--tune {key}={given}: a range is of numbers, but {key} is {told}: give values, as in "
            f"{key}=V1,V2"
        )
    return _range(key, match, whole)


def _range(key: str, match: re.Match[str], whole: bool) -> Range:
    text, scale = match[0], match["scale"]
    if scale not in (None, "log"):
        raise ConfigError(f"--tune {key}={text}: there is no scale {scale!r}: write :log or none")
    try:
        low, high = ((int if whole else float)(match[end]) for end in ("low", "high"))
    except ValueError:
        kind = "whole numbers" if whole else "numbers"
        raise ConfigError(
            f"--tune {key}={text}: {kind} are expected at both ends, as in "
            f"{'4..32' if whole else '1e-4..1e-2:log'}"
        ) from None
    if not low < high:
        raise ConfigError(f"--tune {key}={text}: the first end must be below the second one")
    if scale and low <= 0:
        raise ConfigError(
            f"--tune {key}={text}: a logarithmic scale begins above 0: give a larger first end, or "
            "leave out :log"
        )
    return Range(low, high, whole, bool(scale))


def _words(key: str, given: object) -> list[str]:
    """Return values as text."""
    if isinstance(given, str):
        return split_values(given)
    if isinstance(given, Iterable):
        return [show(value) for value in given]
    raise ConfigError(
        f"tune: {key} is {given!r}, but a range such as '4..32' or a list of values is expected"
    )


def _choice(key: str, values: Sequence[str]) -> Choice:
    different = tuple(dict.fromkeys(values))
    if len(different) < 2:
        one = different[0] if different else "VALUE"
        repeated = f"it repeats {one}: " if len(values) > 1 else ""
        raise ConfigError(
            f"--tune {key}={','.join(values)}: {repeated}give a range such as 4..32 or two "
            f"different values, or fix the one value by --{key.replace('_', '-')} {one} "
            "in place of --tune"
        )
    return Choice(different)
