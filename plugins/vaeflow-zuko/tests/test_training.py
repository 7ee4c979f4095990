"""The flows train from the command line on the digits, as posteriors and as priors."""

import contextlib
import io
import json

import pytest

from vaeflow.cli import main

SMALL = (
    "--epochs 2 --latent 6 --encoder.hidden 64 --decoder.hidden 64 --threads 1 --test-samples 5 "
    "--test-images 20 --no-tensorboard"
)


def train(run_dir, *words):
    """Train for two epochs and return the validation ELBO after each."""
    rest = [*SMALL.split(), "--run-dir", str(run_dir)]
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            code = main(["train", *words, *rest])
        except SystemExit as exit_:
            code = exit_.code
    assert not code, out.getvalue()
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["validation/elbo"] for line in lines]


@pytest.mark.parametrize("family", ["maf", "nsf", "bpf", "unaf"])
def test_posterior_learns_the_digits(tmp_path, family):
    words = ["--posterior", f"zuko-{family}", "--posterior.steps", "1"]
    first, second = train(tmp_path / "run", *words)
    assert second > first


def test_continuous_flow_learns_the_digits(tmp_path):
    words = ["--posterior", "zuko-cnf", "--posterior.hidden", "16", "--posterior.rtol", "1e-3"]
    first, second = train(tmp_path / "run", *words, "--batch-size", "500")
    assert second > first


@pytest.mark.parametrize("family", ["nsf", "maf"])
def test_prior_goes_with_a_posterior(tmp_path, family):
    words = ["--posterior", "zuko-nsf", "--prior", f"zuko-{family}"]
    first, second = train(tmp_path / "run", *words)
    assert second > first
