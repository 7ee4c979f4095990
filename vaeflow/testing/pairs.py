"""Holding a part to a law under two options together."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from vaeflow.errors import ConfigError
from vaeflow.options import options_model, validate
from vaeflow.testing.option_sets import combinations
from vaeflow.testing.probes import options_of
from vaeflow.testing.registered import MakePart, NotApplicable
from vaeflow.text import show


def for_all_pairs(kind: str, part: MakePart, law: Callable[[MakePart], None]) -> None:
    """Hold a part to a law under all pairs of choices and numbers of its options.

    Raises:
        AssertionError: naming the options under which the law does not hold.
        NotApplicable: if there are no options to vary.
    """
    whole = options_of(part)
    if not isinstance(whole, type):
        raise NotApplicable("the class of the part, whose options could be varied, is not known")
    if "is_normalized" in getattr(whole, "exemptions", {}):
        raise NotApplicable("it is exempt from is_normalized")
    defaults = {k: v.default for k, v in options_model(whole).model_fields.items()}
    keywords: dict[str, Any] = getattr(part, "keywords", {})
    sets = combinations(whole, {k: v for k, v in keywords.items() if v != defaults.get(k)})
    if not sets:
        raise NotApplicable("there are no options to vary")
    for options in sets:
        try:
            law(partial(whole, **validate(whole, options, kind)))
        except (ConfigError, NotApplicable):
            continue  # the part refuses these options, or they leave nothing to judge
        except AssertionError as error:
            told = ", ".join(f"{k} = {show(v)}" for k, v in options.items())
            raise AssertionError(f"with {told}: {error}") from None
