"""The parts that this distribution offers, by name; using one imports it, and torch with it."""

from __future__ import annotations

from collections.abc import Callable

from vaeflow import hookimpl


@hookimpl
def vaeflow_register_posteriors(register: Callable[[str, str], None]) -> None:
    """Offer the posterior `sylvester`."""
    register("sylvester", "vaeflow_sylvester.posterior:Sylvester")
