"""`vaeflow data`."""

from __future__ import annotations

import click

from vaeflow.cli.lazy import LazyGroup


@click.group(
    "data",
    cls=LazyGroup,
    package=__name__,
    summaries={"inspect": "Tell what data is, and how to train with it."},
)
def command() -> None:
    """Look at data before it is trained with."""
