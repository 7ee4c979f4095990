"""A diagnosis whose stages are kept: interrupted and resumed, to the bit, at the least work."""

import shutil
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace

import pytest
import torch

from vaeflow.diagnosis import stages
from vaeflow.diagnosis.diagnose import diagnose
from vaeflow.diagnosis.local_bounds import Optimization
from vaeflow.diagnosis.options import DiagnosisOptions
from vaeflow.diagnosis.stored import StageFiles
from vaeflow.parts.posteriors.full_gaussian import FullGaussian
from vaeflow.parts.posteriors.identity import Identity
from vaeflow.parts.posteriors.planar import Planar

FAMILIES = {"planar": lambda f: Planar(3, f, steps=2), "identity": lambda f: Identity(3, f)}
LOCAL = Optimization(steps=5, rounds=2, samples=20, batch=2)
OPTIONS = DiagnosisOptions(samples=50, temperatures=4, chains=2, simulated=100, local=LOCAL)
IWAE = ["IWAE of the images", "IWAE of simulated images"]
ANNEALING = ["annealing", "annealing simulated images", "annealing them backwards"]
FAMILY = ["local identity q", "local planar q"]
ALL = [IWAE[0], ANNEALING[0], IWAE[1], *ANNEALING[1:], *FAMILY, "calibration"]


class Bars:
    """Progress that records the stages; Ctrl-C comes as one more than `most` begins."""

    def __init__(self, most=99):
        self.most, self.seen = most, []

    @contextmanager
    def __call__(self, total, what, done=0):
        if len(self.seen) == self.most:
            raise KeyboardInterrupt
        self.seen.append(what)
        yield lambda images: None


def bits(value):
    """Return a value as comparable parts, tensors as their bytes."""
    if isinstance(value, torch.Tensor):
        return value.dtype, value.shape, value.detach().numpy().tobytes()
    if isinstance(value, torch.nn.Module):
        return type(value), value.training, bits(value.state_dict())
    if is_dataclass(value):
        return type(value), [(f.name, bits(getattr(value, f.name))) for f in fields(value)]
    if isinstance(value, Mapping):
        return [(name, bits(part)) for name, part in value.items()]
    if isinstance(value, list | tuple):
        return [bits(part) for part in value]
    return repr(value)


@pytest.fixture(scope="module")
def model(world):
    return world.model(diagonal=True, shift=0.15, spread=1.3)


@pytest.fixture(scope="module")
def x(world):
    return world.data(3)[1]


@pytest.fixture(scope="module")
def whole(model, x):
    """A diagnosis that nobody interrupted or kept."""
    bars = Bars()
    found = diagnose(model, x, FAMILIES, OPTIONS, progress=bars)
    assert bars.seen == ALL
    return bits(found)


@pytest.fixture(scope="module")
def complete(model, x, whole, tmp_path_factory):
    """The folder of a diagnosis that was interrupted as each of its stages ended. Read only."""
    folder = tmp_path_factory.mktemp("kept") / "diagnoses"
    for done in range(len(ALL)):
        files, bars = StageFiles(folder, {}), Bars(most=1)
        torch.manual_seed(done)  # the state of torch's generator is no part of a figure
        with torch.random.fork_rng():
            if done < len(ALL) - 1:
                with pytest.raises(KeyboardInterrupt):
                    diagnose(model, x, FAMILIES, OPTIONS, keeper=files, progress=bars)
                assert files.kept == ALL[: done + 1]
            else:
                assert bits(diagnose(model, x, FAMILIES, OPTIONS, keeper=files, progress=bars)) == (
                    whole
                )
        assert (files.found, bars.seen) == (ALL[:done], [ALL[done]])
    return folder


@pytest.fixture
def folder(complete, tmp_path):
    return shutil.copytree(complete, tmp_path / "diagnoses")


def test_a_diagnosis_interrupted_after_each_stage_ends_with_equal_bits(
    model, x, whole, folder, monkeypatch
):
    for name in ("evaluate_images", "annealed", "annealed_backwards", "local_bounds"):
        monkeypatch.setattr(stages, name, None)
    for name in ("calibrate", "log_dets", "active_units"):
        monkeypatch.setattr(stages, name, None)
    state, bars = torch.get_rng_state(), Bars()
    files = StageFiles(folder, {})
    found = diagnose(model, x, FAMILIES, OPTIONS, keeper=files, progress=bars)
    assert bits(found) == whole
    assert bars.seen == []
    assert files.found == [*ALL, "log-dets", "active units"]
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("options", "anew"),
    [
        ({"temperatures": 5}, ANNEALING),
        ({"chains": 3}, ANNEALING),
        ({"samples": 60}, IWAE),
        ({"simulated": 101}, ["calibration"]),
        ({"local": replace(LOCAL, lr=0.01)}, FAMILY),
        ({"skip": ["ais", "calibration"]}, []),
        ({"seed": 1}, ALL),
    ],
)
def test_another_option_measures_anew_what_depends_on_it(model, x, folder, options, anew):
    bars, options = Bars(), replace(OPTIONS, **options)
    found = diagnose(model, x, FAMILIES, options, keeper=StageFiles(folder, {}), progress=bars)
    assert bars.seen == [stage for stage in ALL if stage in anew]
    assert bits(found) == bits(diagnose(model, x, FAMILIES, options))


def test_a_further_family_is_measured_alone(model, x, folder):
    bars, more = Bars(), {**FAMILIES, "full-gaussian": lambda f: FullGaussian(3, f)}
    diagnose(model, x, more, OPTIONS, keeper=StageFiles(folder, {}), progress=bars)
    assert bars.seen == ["local full-gaussian q"]


def test_a_family_that_did_not_start_at_the_gaussian_is_measured_anew(model, x, folder):
    bars, alone = Bars(), {"planar": FAMILIES["planar"]}
    diagnose(model, x, alone, OPTIONS, keeper=StageFiles(folder, {}), progress=bars)
    assert bars.seen == ["local planar q"]


def test_other_images_leave_the_calibration(model, x, folder):
    bars = Bars()
    diagnose(model, x[:2], FAMILIES, OPTIONS, keeper=StageFiles(folder, {}), progress=bars)
    assert bars.seen == ALL[:-1]


def test_a_stage_of_a_damaged_file_is_measured_anew_and_replaced(
    model, x, whole, folder, caplog, one_sentence
):
    (path,) = folder.glob("local-identity-q-*")
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    bars = Bars()
    found = diagnose(model, x, FAMILIES, OPTIONS, keeper=StageFiles(folder, {}), progress=bars)
    assert bits(found) == whole
    assert bars.seen == ["local identity q"]
    (warning,) = caplog.messages
    assert warning.startswith(f"{path} was changed: ")
    one_sentence(warning)
    assert path.read_bytes() == content


def test_on_a_full_disk_a_diagnosis_warns_once_and_goes_on(
    model, x, whole, tmp_path, monkeypatch, caplog, one_sentence
):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vaeflow.storage.write_new", full)
    files = StageFiles(tmp_path / "diagnoses", {})
    assert bits(diagnose(model, x, FAMILIES, OPTIONS, keeper=files)) == whole
    (warning,) = caplog.messages
    assert "No space left on device" in warning
    one_sentence(warning)
    assert files.kept == []
