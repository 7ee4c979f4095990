"""The data set that this distribution offers; using it imports `datasets`."""

from __future__ import annotations

from collections.abc import Callable

from vaeflow import hookimpl


@hookimpl
def vaeflow_register_datasets(register: Callable[[str, str], None]) -> None:
    """Offer the data set `huggingface`."""
    register("huggingface", "vaeflow_datasets.dataset:HuggingFace")
