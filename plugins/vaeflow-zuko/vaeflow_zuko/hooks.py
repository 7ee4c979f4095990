"""The parts that this distribution offers, by name; using one imports it, and torch with it."""

from __future__ import annotations

from collections.abc import Callable

from vaeflow import hookimpl

# zuko's own names, which are those of the papers.
FAMILIES = ("MAF", "RealNVP", "NSF", "BPF", "NAF", "UNAF", "CNF")


@hookimpl
def vaeflow_register_posteriors(register: Callable[[str, str], None]) -> None:
    """Offer the posteriors `zuko-maf`, `zuko-realnvp`, `zuko-nsf` and so on."""
    for family in FAMILIES:
        register(f"zuko-{family.lower()}", f"vaeflow_zuko.posteriors:{family}")


@hookimpl
def vaeflow_register_priors(register: Callable[[str, str], None]) -> None:
    """Offer priors of the same names."""
    for family in FAMILIES:
        register(f"zuko-{family.lower()}", f"vaeflow_zuko.priors:{family}")
