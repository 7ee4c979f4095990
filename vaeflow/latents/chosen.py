"""Which columns of an example a picture draws: those that are named, or the first ones."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from vaeflow.data.columns import Columns
from vaeflow.errors import ConfigError, did_you_mean, printable

log = logging.getLogger("vaeflow")
FIRST = 12  # columns that are drawn without being named: the same ones in all pictures
_NAMED = 5  # of those that are left out


def check_columns(wanted: Sequence[str] | None, columns: Columns, shape: Sequence[int]) -> None:
    """Check that the columns are there which a picture is to draw.

    Arguments:
        wanted: their names, or None.
        columns: of the data.
        shape: of an example.

    Raises:
        ConfigError: if an example has no columns, or none of a name.
    """
    if wanted is None:
        return
    if len(shape) != 1:
        raise ConfigError(
            f"--columns {','.join(wanted)}: an example has shape {tuple(shape)} and no columns; "
            "leave --columns out"
        )
    for name in wanted or [""]:
        if name not in columns.names:
            some = [*columns.names[:10], *(["…"] if len(columns) > 10 else [])]
            raise ConfigError(
                f"--columns {name}: the data has no such column"
                f"{did_you_mean(name, columns.names)}; it has {', '.join(some)}"
            )


def chosen_columns(wanted: Sequence[str] | None, columns: Columns) -> tuple[list[int], str]:
    """Return which columns are drawn, and words on those that are left out without being asked."""
    if wanted is not None:
        return [columns.names.index(name) for name in dict.fromkeys(wanted)], ""
    drawn = [*range(min(len(columns), FIRST))]
    left = [printable(name)[:24] for name in columns.names[FIRST:]]
    if not left:
        return drawn, ""
    names = ", ".join([*left[:_NAMED], *([f"{len(left) - _NAMED} more"] if left[_NAMED:] else [])])
    note = f"the first {len(drawn)} of {len(columns)} columns are drawn, without {names}"
    log.info("%s: --columns chooses", note)
    return drawn, note
