"""The process that the tests run in, and its children, wherever they are started from."""

import os
import signal
from pathlib import Path

import pytest

# Small tensors gain nothing from threads, which on a busy machine wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A process started in the background ignores Ctrl-C, and so would the runs that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the flags of `make faults` and `make partners`."""
    parser.addoption("--all-faults", action="store_true", help="try every fault of tests/faults")
    parser.addoption("--partners", action="store_true", help="run tests/partners as well")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave tests/partners to `make partners`: other libraries take long to import and to run."""
    left_out = collection_path == config.rootpath / "tests" / "partners"
    return True if left_out and not config.getoption("--partners") else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many faults of each kind were tried, and what they lost."""
    table: dict[str, list[int]] = {}
    for report in (report for group in terminalreporter.stats.values() for report in group):
        for name, value in getattr(report, "user_properties", ()):
            if name == "faults" and report.when == "call":
                kind, *counts = value
                before = table.get(kind, [0, 0, 0])
                table[kind] = [a + b for a, b in zip(before, counts, strict=True)]
    if table:
        terminalreporter.section("faults")
        terminalreporter.write_line(f"{'kind':<60}{'cases':>7}{'lost':>6}{'silent':>8}")
        for kind, (cases, lost, silent) in sorted(table.items()):
            terminalreporter.write_line(f"{kind:<60}{cases:>7}{lost:>6}{silent:>8}")
