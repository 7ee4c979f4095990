"""The benchmark script that a test module is named for."""

import importlib
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def script(request):
    """Return the script: benchmarks/step.py for test_step.py. It is forgotten afterwards."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield importlib.import_module(request.path.stem.removeprefix("test_"))
    finally:
        sys.path.remove(str(BENCHMARKS))
        for name in [n for n in sys.modules if n.split(".")[0] == "shared"]:
            del sys.modules[name]
        for path in BENCHMARKS.glob("*.py"):
            sys.modules.pop(path.stem, None)
