"""Two ranks that torchrun starts write the file that one process writes."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch.distributed as dist

pytestmark = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="this torch has no gloo"
)


@pytest.mark.parametrize(
    "words", [("encode", "--draws", "2"), ("score", "--proposal", "q", "-k", "2")]
)
def test_two_ranks_write_the_file_of_one_process(cli, run_copy, here, words):
    np.save("new.npy", np.random.RandomState(0).rand(250, 4, 4).astype(np.float32))  # 3 batches
    command, *rest = *words, "--data", "new.npy"
    done = cli(command, run_copy, *rest, "--out", "alone.csv")
    assert done.code == 0, done.err
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    argv = [*launch, "-m", "vaeflow", command, str(run_copy), *rest, "--out", "both.csv"]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    found = subprocess.run(
        [sys.executable, *argv], capture_output=True, text=True, timeout=120, env=env
    )
    assert (found.returncode, found.stdout) == (0, "wrote both.csv\n"), found.stderr
    assert (here / "both.csv").read_bytes() == (here / "alone.csv").read_bytes()
