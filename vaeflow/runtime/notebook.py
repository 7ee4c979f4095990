"""A line of a notebook's output that changes in place: a bar with a text."""

from __future__ import annotations

import sys
from html import escape
from typing import Any


def in_notebook() -> bool:
    """Tell whether this process serves a notebook."""
    return "ipykernel" in sys.modules


class Line:
    """A bar and a text, drawn anew at each `show`: by IPython, or as text where it is not there."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._shown = False

    def show(self, share: float, text: str) -> None:
        """Draw the bar, of which a share in [0, 1] is full, and the text behind it."""
        share = min(max(share, 0.0), 1.0)
        full = round(20 * share)
        plain = f"{'█' * full}{'░' * (20 - full)} {text}"
        bar = f'<progress style="width: 16em" max="1" value="{share:.4f}"></progress>'
        html = f'<div style="white-space: nowrap">{bar} <code>{escape(text)}</code></div>'
        data = {"text/plain": plain, "text/html": html}
        if self._handle is not None:
            self._handle.update(data, raw=True)
        elif self._shown or not self._open(data):
            sys.stdout.write(f"\r{plain}")
            sys.stdout.flush()
        self._shown = True

    def close(self) -> None:
        """End the line."""
        if self._shown and self._handle is None:
            sys.stdout.write("\n")
            sys.stdout.flush()

    def _open(self, data: dict[str, str]) -> bool:
        """Draw for the first time by IPython, if it is there."""
        try:
            from IPython.display import display
        except ImportError:
            return False
        self._handle = display(data, raw=True, display_id=True)
        return self._handle is not None
