"""The sets of options that a part is checked with."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any, Literal, get_args, get_origin

import torch

from vaeflow.errors import ConfigError
from vaeflow.options import options_model, validate
from vaeflow.parts.abstract import (
    Dataset,
    Decoder,
    Encoder,
    Likelihood,
    Objective,
    Posterior,
    Prior,
)
from vaeflow.text import type_name

Options = dict[str, Any]

# Arguments for the constructor of each kind where only its options are in question.
_ARGUMENTS: dict[type, list[tuple[Any, ...]]] = {
    Dataset: [(None,)],
    Encoder: [((1, 28, 28),), ((5,),)],
    Posterior: [(5, 7)],
    Prior: [(3, (1, 4, 4))],
    Decoder: [(4, (1, 28, 28)), (4, (5,))],
    Likelihood: [((1, 4, 3),), ((5,),)],
    Objective: [()],
}


def variants(part: type, given: Options | None = None) -> list[Options]:
    """Return sets of options to check a part with: `given`, then each other choice that it offers.

    One option changes at a time: an option that is one of a few, or true or false, takes each of
    its other values; a number of `steps` is also 0 and 1. In one last set, every number differs
    from its default. The options that are given, by default none, stay as they are. Sets that the
    part refuses by ConfigError are left out. A part with another required option has none.
    """
    given = given or {}
    fields = {k: v for k, v in options_model(part).model_fields.items() if k not in given}
    if any(about.is_required() for about in fields.values()):
        return []
    found: list[Options] = [given]
    for name, about in fields.items():
        counted = name == "steps" and type_name(about.annotation).startswith("integer")
        for value in (0, 1) if counted else _choices(about.annotation):
            if value != about.default and _takes(part, {**given, name: value}):
                found.append({**given, name: value})
    moved = {name: _moved(about.default) for name, about in fields.items()}
    moved = {k: v for k, v in moved.items() if v is not None and _takes(part, {**given, k: v})}
    return [*found, {**given, **moved}] if moved and _takes(part, {**given, **moved}) else found


_NUMBERS = (0, 1, 2, 3, 4, 8, 16, 32)  # that a whole number is tried as, beside the default


def combinations(part: type, given: Options) -> list[Options]:
    """Return sets of options in which each two values of two options meet, `given` in all of them.

    The values are the choices of an option, a number and another one. Beside these sets, a whole
    number is also a few others, from 0 to 32, alone; a fraction is 0, its negative, a tenth and a
    hundred times itself; a tuple of whole numbers has up to three of them; what may be None is. A
    set that the part's types refuse is left out.
    """
    fields = {k: v for k, v in options_model(part).model_fields.items() if k not in given}
    levels: dict[str, list[Any]] = {}
    alone: list[Options] = []
    for name, about in fields.items():
        default = about.default
        alone += [{name: value} for value in _others(about.annotation, default) if value != default]
        others = [v for v in _choices(about.annotation) if v != default]
        others += [_moved(default)] if type(default) in (int, float) else []
        if others and not about.is_required():
            levels[name] = [default, *others]
    found = [{**given, **options} for options in [*alone, *_pairs(levels)]]
    return [options for options in found if _valid(part, options)]


def _others(annotation: Any, default: Any) -> list[Any]:
    """Return the values that an option takes alone, with every other option at its default."""
    arms = get_args(annotation) or (annotation,)
    kinds = {type_name(arm) for arm in arms} | {type_name(annotation)}
    found: list[Any] = [None] if type(None) in arms else []
    if type(default) is int or (default is None and any(k.startswith("integer") for k in kinds)):
        found += [*_NUMBERS, (default or 16) + 1]
    if type(default) is float:
        found += [0.0, -default, 0.1 * default, 100 * default]
    if isinstance(default, tuple) and all(type(n) is int for n in default):
        found += [(), (8,), (8, 8), (8, 8, 8)]
    return found


def _pairs(levels: dict[str, list[Any]]) -> list[Options]:
    """Return sets in which each two values of two options meet, each set as full as it can be."""
    if len(levels) == 1:
        return [{name: value} for name, values in levels.items() for value in values[1:]]
    open_pairs = {
        ((a, i), (b, j))
        for a, b in itertools.combinations(levels, 2)
        for i in range(len(levels[a]))
        for j in range(len(levels[b]))
    }
    found = []
    while open_pairs:
        row = dict(min(open_pairs))
        for name in levels:
            if name not in row:
                row[name] = max(
                    range(len(levels[name])),
                    key=lambda i, name=name: sum(  # type: ignore[misc]
                        p in open_pairs
                        for other in row.items()
                        for p in (((name, i), other), (other, (name, i)))
                    ),
                )
        open_pairs -= set(itertools.permutations(row.items(), 2))
        found.append({name: levels[name][row[name]] for name in levels})
    return found


def _valid(part: type, options: Options) -> bool:
    try:
        validate(part, options, part.__name__)
    except ConfigError:
        return False
    return True


def _moved(default: Any) -> int | float | None:
    """Return another number than the default, which shows errors that a sum over 1 hides."""
    if type(default) is int:
        return default + 1
    return 0.75 * default or 0.5 if type(default) is float else None


def _choices(annotation: Any) -> tuple[Any, ...]:
    """Return the values of every Literal and bool in a type."""
    if annotation is bool:
        return (False, True)
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return tuple(value for arm in get_args(annotation) for value in _choices(arm))


def _takes(part: type, options: Options) -> bool:
    """Tell whether the part accepts the options; the checks tell of any error but ConfigError."""
    try:
        made = partial(part, **validate(part, options, part.__name__))
    except ConfigError:
        return False
    for arguments in next(sizes for base, sizes in _ARGUMENTS.items() if issubclass(part, base)):
        try:
            with torch.random.fork_rng(()):
                made(*arguments)
        except ConfigError:
            continue
        except (Exception, SystemExit):
            return True
        return True
    return False
