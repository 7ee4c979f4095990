"""The parts of this distribution, by name; a part is imported on use, and torch with it."""

from __future__ import annotations

from collections.abc import Callable

from vaeflow import hookimpl


@hookimpl
def vaeflow_register_mykinds(register: Callable[[str, str], None]) -> None:
    """Offer the mykind `mypart`."""
    register(
        "mypart",
        "vaeflow_mypart.mykind:MyPart",
    )
