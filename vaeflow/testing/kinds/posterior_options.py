"""Checks of a posterior's options: two of them together, and no steps at all."""

from __future__ import annotations

import inspect
import math
from functools import partial
from typing import Any

from vaeflow.errors import ConfigError
from vaeflow.options import validate
from vaeflow.testing.kinds.posteriors import complain, features, holds, posterior, tolerance
from vaeflow.testing.noise import given, log_normal, noise_law
from vaeflow.testing.pairs import for_all_pairs
from vaeflow.testing.probes import close, normal, options_of
from vaeflow.testing.registered import MakePart, NotApplicable, register


@register("posterior", once=True)
def log_q_matches_for_options_together(part: MakePart) -> None:
    """log q is right for all pairs of choices and numbers of the options."""
    for_all_pairs("posterior", part, _holds)


def _holds(part: MakePart) -> None:
    for latent in (2, 7):
        complain(holds(part, latent, (1.0,), anywhere=False))  # many maps may be too steep


@register("posterior")
def zero_steps_leave_the_base(part: MakePart) -> None:
    """With `steps` = 0, z is an affine function of the noise."""
    whole = options_of(part)
    if "steps" not in inspect.signature(whole).parameters:
        raise NotApplicable("there is no option 'steps'")
    keywords: dict[str, Any] = getattr(part, "keywords", {})
    try:
        if isinstance(whole, type):
            validate(whole, {**keywords, "steps": 0}, "posterior")
        module = posterior(partial(part, steps=0), 4)
    except ConfigError as refusal:
        raise NotApplicable(f"steps = 0 is refused: {refusal}") from None
    h, a, b = features(3), normal(1, 3, 4), normal(1, 3, 4, seed=3)
    q = module(h)
    if noise_law(q) != math.inf:
        raise NotApplicable("its noise is not normal")
    zero, left, right, both = (given(q, e) for e in (0 * a, a, b, a + b))
    close(both.z - right.z, left.z - zero.z, "z by another step of noise", tolerance(module))
    seen, wanted = left.log_prob - log_normal(a), zero.log_prob - log_normal(0 * a)
    close(seen, wanted, "log|det| at another draw", tolerance(module))
