"""TensorBoard over runs, by the names of their directories, for this machine alone."""

from __future__ import annotations

import atexit
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from vaeflow.comparison.places import names_of
from vaeflow.errors import CheckpointError, ConfigError, VaeflowError

HOST, PORT = "127.0.0.1", 6006
_PATIENCE = 60.0  # seconds until TensorBoard answers


class Board:
    """A running TensorBoard, which `close` or the end of a `with` block ends.

    Arguments:
        paths: of runs, or of folders that hold runs.
        port: where it listens, if it is free; else at another one.

    Raises:
        CheckpointError: if a path holds no run.
        VaeflowError: if TensorBoard does not start.
    """

    def __init__(self, paths: Sequence[Path], port: int = PORT) -> None:
        each = {_folder_of_runs(path): path.resolve() for path in paths}
        self.port = _free(port)
        self._folder = tempfile.TemporaryDirectory(prefix="vaeflow-tensorboard-")
        log = Path(self._folder.name) / "log"
        words = [sys.executable, "-m", "tensorboard.main", "--logdir", str(self._logdir(each))]
        words += ["--host", HOST, "--port", str(self.port)]
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
            )
        atexit.register(self.close)  # it would outlive this process
        try:
            self._wait(log)
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """Return where a browser on this machine finds it."""
        return f"http://{HOST}:{self.port}/"

    def __repr__(self) -> str:
        return f"Board({self.url})"

    def __enter__(self) -> Board:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def wait(self) -> None:
        """Return when TensorBoard ends by itself."""
        self.process.wait()

    def close(self) -> None:
        """End TensorBoard."""
        atexit.unregister(self.close)
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._folder.cleanup()

    def _logdir(self, each: Mapping[Path, Path]) -> Path:
        """Return a directory below which each run has its name.

        TensorBoard calls a run by its path below this directory, and "." where it is the directory
        itself. Links give each its name; a folder of runs alone is taken as it is.
        """
        if len(each) == 1 and not (only := next(iter(each))).joinpath("config.toml").is_file():
            return only
        named = names_of([*each.values()])
        root = Path(self._folder.name) / "runs"
        for folder, path in each.items():
            link = root / named[path]
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(folder, target_is_directory=True)
        return root

    def _wait(self, log: Path) -> None:
        """Wait until TensorBoard answers."""
        end = time.monotonic() + _PATIENCE
        while self.process.poll() is None and time.monotonic() < end:
            with socket.socket() as probe:
                if probe.connect_ex((HOST, self.port)) == 0:
                    return
            time.sleep(0.1)
        last = (log.read_text("utf-8", "replace").strip().splitlines() or ["it said nothing"])[-1]
        raise VaeflowError(
            f"TensorBoard did not start ({last[:200]}): try `{sys.executable} -m tensorboard.main "
            "--inspect --logdir runs`, which says what is wrong with it"
        )


def tensorboard(*runs: str | Path, port: int = PORT) -> Board:
    """Start TensorBoard over runs, for this machine alone, as `vaeflow tensorboard` does.

    Arguments:
        runs: run directories, directories of `vaeflow benchmark`, or folders that hold runs; by
            default the folder "runs".
        port: where it listens, if it is free; else at another one.

    Returns:
        The running TensorBoard: `board.url`, and `board.close()` ends it.

    Raises:
        CheckpointError: if a path holds no run.
        VaeflowError: if TensorBoard does not start.
    """
    if not 0 <= port < 65536:
        raise ConfigError(f"--port {port}: a number from 1 to 65535 is expected, or 0 for any")
    return Board([Path(run) for run in runs or ("runs",)], port)


def _folder_of_runs(path: Path) -> Path:
    """Return a run directory, or the folder whose directories are runs.

    Raises:
        CheckpointError: if it is neither.
    """
    for folder in (path, path / "runs"):
        if (folder / "config.toml").is_file() or next(folder.glob("*/config.toml"), None):
            return folder.resolve()
    raise CheckpointError(
        f"{path} holds no run (neither it nor a folder in it has a config.toml): give a directory "
        "that `vaeflow train` or `vaeflow benchmark` made"
    )


def _free(port: int) -> int:
    """Return a port if it is free, and else another one that is."""
    for wanted in (port, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, wanted))
            except OSError:
                continue
            found: int = probe.getsockname()[1]
            return found
    raise VaeflowError(f"no port of {HOST} is free: close a program that listens on one")
