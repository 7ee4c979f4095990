"""A run that was stopped, or killed, and resumed ends with the bits of one that was not."""

import hashlib
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from vaeflow.config.settings import Settings
from vaeflow.data.columns import Column, Columns
from vaeflow.data.examples import Examples
from vaeflow.errors import CheckpointError
from vaeflow.model import VAE, seen_shape
from vaeflow.parts.decoders.mlp import MLP as Decoder
from vaeflow.parts.encoders.mlp import MLP as Encoder
from vaeflow.parts.likelihoods.bernoulli import Bernoulli
from vaeflow.parts.objectives.elbo import ELBO
from vaeflow.parts.posteriors.iaf import IAF
from vaeflow.parts.posteriors.identity import Identity
from vaeflow.parts.posteriors.planar import Planar
from vaeflow.parts.priors.normal import Normal
from vaeflow.reading import unsealed
from vaeflow.training import Observer, prepare_trainer
from vaeflow.training.checkpoints import CheckpointStore

SHAPE = (1, 3, 3)
TIMES = ("seconds", "images_per_second", "sha256")  # a checksum is of the times, too
POSTERIORS = {
    "identity": Identity,
    "planar": lambda latent, features: Planar(latent, features, steps=3),
    "iaf": lambda latent, features: IAF(latent, features, steps=2, width=8),
    "beside": Identity,
}
SETTINGS = Settings(
    epochs=4, batch_size=8, schedule="cosine", clip=5.0, checkpoint_seconds=0, device="cpu"
)
STEPS = 4 * 4  # 30 images make three batches of 8 and one of 6


SITES = Columns((Column("site", "category", levels=("n", "s")),))


def trainer(posterior="planar", settings=SETTINGS):
    """Return a small trainer; "beside" is of data with gaps, a covariate and weights."""
    torch.manual_seed(3)
    beside, more = posterior == "beside", 2 * (posterior == "beside")
    seen = seen_shape(SHAPE, missing=beside)
    model = VAE(
        Encoder(seen, hidden=(8,)),
        POSTERIORS[posterior](2, 8 + more),
        Normal(2, seen),
        Decoder(2 + more, SHAPE, hidden=(8,)),
        Bernoulli(SHAPE),
        missing=beside,
        covariates=SITES if beside else None,
    )
    data = torch.rand(40, *SHAPE)
    if beside:
        gaps = torch.where(torch.rand_like(data) < 0.2, torch.nan, data)
        data = Examples(gaps, (torch.arange(40) % 2)[:, None].float(), torch.rand(40))
    return prepare_trainer(
        model,
        data[:30],
        data[30:],
        objective=ELBO(warmup=2.0),
        binarization="dynamic",
        settings=settings,
    )


def outcome(t, fit):
    weights = hashlib.sha256()
    for name, value in sorted(t.model.state_dict().items()):
        weights.update(name.encode() + value.numpy().tobytes())
    return weights.hexdigest(), {k: v.numpy().tobytes() for k, v in fit.best.items()}


def timeless(records):
    return [{k: v for k, v in r.items() if k not in TIMES} for r in records]


class StopAt:
    def __init__(self, *steps):
        self.calls = 0
        self.steps = steps

    def __call__(self):
        self.calls += 1
        return self.calls - 1 in self.steps


@pytest.mark.parametrize("posterior", POSTERIORS)
@pytest.mark.parametrize("step", [0, 1, 3, 4, 5, 7, 8, 12, STEPS - 1])
def test_stopped_anywhere_and_resumed_is_exact(tmp_path, posterior, step):
    whole = trainer(posterior)
    fit = whole.run()

    first = trainer(posterior)
    stopped = first.run(store=CheckpointStore(tmp_path / "c"), stop=StopAt(step))
    assert stopped.status == "interrupted"
    assert stopped.progress.step == step
    second = trainer(posterior)
    torch.manual_seed(99)  # a new process has another global generator
    second.restore(CheckpointStore(tmp_path / "c").latest())
    resumed = second.run(store=CheckpointStore(tmp_path / "c"))

    assert outcome(second, resumed) == outcome(whole, fit)
    assert timeless(stopped.records + resumed.records) == timeless(fit.records)


def test_stopped_three_times_is_exact(tmp_path):
    whole = trainer()
    fit = whole.run()
    records = []
    for _ in range(3):
        part = trainer()
        if found := CheckpointStore(tmp_path / "c").latest():
            part.restore(found)
        records += part.run(store=CheckpointStore(tmp_path / "c"), stop=StopAt(5)).records
    last = trainer()
    last.restore(CheckpointStore(tmp_path / "c").latest())
    final = last.run()
    assert outcome(last, final) == outcome(whole, fit)
    assert timeless(records + final.records) == timeless(fit.records)


class Restless(Observer):
    """Draws at random and looks at the model, as pictures and evaluations do."""

    def start(self, epoch, step, epochs, steps_per_epoch):
        torch.randn(5)

    def epoch(self, record, model):
        model.infer(torch.rand(3, *SHAPE)).rsample((2,))

    def end(self, status):
        torch.randn(5)


class Quiet(Observer):
    def epoch(self, record, model):
        raise RuntimeError("this observer is broken")


def test_observing_does_not_change_a_run(tmp_path, caplog):
    plain = trainer()
    fit = plain.run()
    state = torch.get_rng_state()
    watched = trainer()
    torch.set_rng_state(state)
    seen = watched.run([Restless(), Quiet()], CheckpointStore(tmp_path / "c"))
    assert outcome(watched, seen) == outcome(plain, fit)
    assert timeless(seen.records) == timeless(fit.records)
    assert "Quiet failed and is muted" in caplog.text
    assert torch.equal(torch.get_rng_state(), state), "the caller's generator was not given back"


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    trainer("identity").run(store=CheckpointStore(tmp_path / "c"))
    other = trainer("planar")
    before = {k: v.clone() for k, v in other.model.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"posterior.flow.weight: missing in the file"):
        other.restore(CheckpointStore(tmp_path / "c").latest())
    assert all(torch.equal(before[k], v) for k, v in other.model.state_dict().items())


# A process that imports torch once and forks a child per command, which is killed by SIGKILL before
# the step that it is told. One thread: a thread pool does not survive a fork.
FORK = """
import json, os, signal, sys
import rich.progress, sklearn.datasets, torch._dynamo, torch.utils.tensorboard
import torch
import vaeflow.cli.progress
from vaeflow import cli
from vaeflow.training.step import Step
for line in sys.stdin:
    argv, kill_at = json.loads(line)
    pid = os.fork()
    if not pid:
        torch.set_num_threads(1)
        step, taken = Step.__call__, 0
        def fatal(self, *args, **kwargs):
            global taken
            if taken == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            taken += 1
            return step(self, *args, **kwargs)
        Step.__call__ = fatal
        os.dup2(2, 1)
        cli.main(argv)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def forked():
    process = subprocess.Popen(
        [sys.executable, "-c", FORK],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )

    def run(argv, kill_at=None):
        process.stdin.write(json.dumps([argv, kill_at]) + "\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    yield run
    process.communicate()


def train(path, posterior):
    small = "--encoder.hidden 16 --decoder.hidden 16 --latent 3 --test-samples 5 --epochs 3 "
    small += "--test-images 20"
    rest = "--checkpoint-seconds 0 --device cpu --objective.warmup 2 --image-every 1"
    return [
        "train",
        "--posterior",
        posterior,
        "--run-dir",
        str(path),
        *small.split(),
        *rest.split(),
    ]


def files(run: Path):
    """Return what a run left: every tensor of its last checkpoint, metrics and summary."""
    last = max((run / "checkpoints").iterdir())
    tensors = {
        f"{path.name}/{name}": value.numpy().tobytes()
        for path in last.glob("*.safetensors")
        for name, value in load_file(path).items()
    }
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    summary = json.loads((run / "summary.json").read_text())
    del summary["seconds"], summary["sha256"]  # the checksum is of the time, too
    return last.name, tensors, timeless(lines), summary


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_killed_and_resumed_is_exact(tmp_path, forked):
    posterior = "planar"  # tests/faults kills more of them
    assert forked(train(tmp_path / "whole", posterior)) == 0
    whole = files(tmp_path / "whole")
    # 13 steps an epoch: before the first checkpoint, within the second epoch, and twice.
    for name, kills in {"early": [5], "late": [20], "twice": [15, 6]}.items():
        run = tmp_path / name
        assert forked(train(run, posterior), kills[0]) == -signal.SIGKILL
        assert json.loads((run / "status.json").read_text())["state"] == "running"
        for kill in kills[1:]:
            assert forked(["resume", str(run)], kill) == -signal.SIGKILL
        assert forked(["resume", str(run)]) == 0
        assert files(run) == whole
        assert json.loads((run / "status.json").read_text())["state"] == "completed"


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_saves_and_says_how_to_go_on(tmp_path, name, code):
    run = tmp_path / "run"
    argv = [sys.executable, "-m", "vaeflow", *train(run, "planar"), "--epochs", "100000"]
    argv.append("--no-tensorboard")
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.startswith("epoch") and " 2/" in line:
            break
    process.send_signal(getattr(signal, name))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert f"vaeflow resume {run}" in errors
    status = unsealed(json.loads((run / "status.json").read_text()))
    assert status["state"] == "interrupted"
    latest = CheckpointStore(run / "checkpoints").latest()
    assert latest.step == status["step"]


def test_an_ignored_hangup_stays_ignored():
    """Under nohup, a run outlives its terminal."""
    from vaeflow.cli.signals import interruptible

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
