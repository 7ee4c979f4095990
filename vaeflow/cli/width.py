"""Text within the width of the terminal."""

from __future__ import annotations

import shutil
import textwrap

_WIDEST = 100  # lines longer than that are hard to read


def wrapped(text: str, indent: int, further: int | None = None) -> str:
    """Return a text as indented lines within the terminal's width.

    Arguments:
        text: one paragraph.
        indent: columns before it.
        further: columns before its lines from the second on, where they are others.
    """
    width = min(shutil.get_terminal_size((_WIDEST, 24)).columns, _WIDEST)
    return textwrap.fill(
        text,
        max(width, 40),
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent if further is None else further),
        break_long_words=False,
        break_on_hyphens=False,
    )
