"""The log of how data was read: each command that is new to the data tells it, no later one."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

_LOG = logging.getLogger("vaeflow")
log = logging.LoggerAdapter(_LOG, {"of_reading": True})


@contextmanager
def told_before() -> Iterator[None]:
    """Leave out the lines on how data was read within the block: its reader has seen them."""

    def is_new(record: logging.LogRecord) -> bool:
        return not getattr(record, "of_reading", False)

    _LOG.addFilter(is_new)
    try:
        yield
    finally:
        _LOG.removeFilter(is_new)
