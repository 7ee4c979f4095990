"""`vaeflow.compare` on runs that are not finished, and with options that are none."""

import json

import numpy as np
import pytest

import vaeflow
from vaeflow.errors import ConfigError

SMALL = {"encoder": ("mlp", {"hidden": [8]}), "decoder": ("mlp", {"hidden": [8]})}


@pytest.fixture(autouse=True)
def words_of_the_shell():
    """Read messages as Python gives them, with arguments instead of flags."""


@pytest.fixture
def failed(run_copy):
    told = "the loss is nan at step 3: lower --lr (it is 0.1), or set --clip"
    (run_copy / "status.json").write_text(json.dumps({"state": "failed", "error": told}))
    return run_copy


@pytest.fixture
def saved(tmp_path):
    model = vaeflow.build((1, 4, 4), latent=2, **SMALL)
    fitted = vaeflow.fit(model, np.random.default_rng(0).random((20, 1, 4, 4)), epochs=1)
    return vaeflow.save(fitted, tmp_path / "saved").path


def test_a_failed_run_gives_its_reason_in_arguments(failed, one_sentence):
    with pytest.raises(ConfigError) as caught:
        vaeflow.compare(failed)
    one_sentence(str(caught.value))
    assert str(caught.value) == (
        "no run is finished, copy: the loss is nan at step 3: lower lr (it is 0.1), or set clip"
    )


def test_a_failed_run_is_a_finding_in_arguments(failed, trained):
    (left_out,) = vaeflow.compare(trained, failed, samples=3).unfinished
    assert left_out.kind == "run-failed"
    assert "lower lr (it is 0.1)" in str(left_out)
    assert "lower lr (it is 0.1)" in left_out.as_dict()["sentence"]


def test_the_shell_reads_the_reason_in_flags(failed, cli):
    done = cli("compare", failed)
    assert done.code == 2
    assert "no run is finished, copy: the loss is nan at step 3: lower --lr (it is 0.1)" in done.err


@pytest.mark.parametrize("samples", [None, 3])
def test_a_saved_fit_tells_how_its_figures_are_had(saved, samples, one_sentence):
    with pytest.raises(ConfigError) as caught:
        vaeflow.compare(saved, samples=samples)
    one_sentence(str(caught.value))
    told = str(caught.value)
    assert told.startswith("no run is finished, saved: fitted in Python to arrays")
    assert "vaeflow.evaluate(vaeflow.load(RUN), x)" in told
    assert told.endswith('train with dataset="file" and the dataset\'s option path=FILE')
    assert "resume" not in told


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"samples": 0}, "samples is 0: input should be greater than or equal to 1"),
        ({"samples": -1}, "samples is -1: input should be greater"),
        ({"samples": True}, "samples is True: true and false are no numbers"),
        ({"split": "foo"}, "split is 'foo': input should be 'train', 'validation' or 'test'"),
        ({"anyway": 3}, "anyway is 3: input should be a valid boolean"),
    ],
)
def test_an_invalid_option_is_refused(trained, options, told, one_sentence):
    with pytest.raises(ConfigError, match=f"^compare: {told}") as caught:
        vaeflow.compare(trained, **options)
    one_sentence(str(caught.value))
