"""What plugins do and how long it takes, on stderr where $VAEFLOW_TRACE_PLUGINS asks for it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from vaeflow.errors import one_line, printable

VARIABLE = "VAEFLOW_TRACE_PLUGINS"


def tell(text: str) -> None:
    """Write a line to stderr, if the variable is set to anything but 0."""
    if os.environ.get(VARIABLE, "") not in ("", "0") and sys.stderr is not None:
        sys.stderr.write(f"Trace: {printable(text)}\n")


@contextmanager
def traced(what: str) -> Iterator[None]:
    """Tell how long the block takes, and why it fails where it does."""
    began, end = time.perf_counter(), ""
    try:
        yield
    except BaseException as error:
        end = f" and failed ({one_line(error)})"
        raise
    finally:
        tell(f"{what} took {1000 * (time.perf_counter() - began):.1f} ms{end}")
