"""Real faults: how many of each kind are tried, what they lost, and children to harm."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import whole_run
from forks import Child


@pytest.fixture
def amount(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """Return how many cases of a kind to try: few in `make test`, all in `make faults`."""
    everything = request.config.getoption("--all-faults")
    return lambda quick, full: full if everything else quick


@pytest.fixture
def counted(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Count cases of a kind for the table at the end, and see that nothing was lost or silent."""

    def count(kind: str, cases: int, lost: int = 0, silent: int = 0) -> None:
        request.node.user_properties.append(("faults", [kind, cases, lost, silent]))
        assert cases > 0, f"{kind}: no case was tried"
        assert lost == 0, f"{kind}: {lost} of {cases} cases lost something"
        assert silent == 0, f"{kind}: {silent} of {cases} cases were wrong without a word"

    return count


@pytest.fixture(scope="session")
def whole(cli: Any, tiny: Any, grey_file: Path, tmp_path_factory: Any) -> Path:
    """A run with a file of every kind. A test that changes it puts it back, or copies it."""
    return whole_run.make(cli, tiny, grey_file, tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture
def fork() -> Iterator[Callable[..., Child]]:
    """Start `work(*arguments)` in a child; what lives at the end of the test is killed."""
    if torch.cuda.is_available():
        pytest.skip("a child of a process with CUDA cannot train: set CUDA_VISIBLE_DEVICES= ''")
    children: list[Child] = []

    def start(work: Callable[..., Any], *arguments: Any) -> Child:
        children.append(Child(work, *arguments))
        return children[-1]

    yield start
    for child in children:
        child.kill()
        child.output.close()
