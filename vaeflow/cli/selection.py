"""The plugins that the options of `vaeflow` select."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from vaeflow.plugins.discovery import Selection


def selection_of(ctx: click.Context) -> Selection:
    """Return which plugins the options of `vaeflow` select."""
    from vaeflow.plugins.discovery import Selection

    none, strict = (ctx.params.get(name, False) for name in ("no_plugins", "strict_plugins"))
    return Selection.from_environment(none=none, strict=strict, files=ctx.params.get("files", ()))
