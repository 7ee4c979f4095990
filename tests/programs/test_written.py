"""A planar encoder as a program of torch.export, and refusals."""

import json
import zipfile
from pathlib import Path

import pytest
import torch
from small_vae import SHAPE, images, model

import vaeflow
from vaeflow.data.examples import Examples
from vaeflow.distributions import draw
from vaeflow.errors import ConfigError
from vaeflow.parts.posteriors.planar import Planar
from vaeflow.programs import written
from vaeflow.programs.formats import TorchExport, format_of
from vaeflow.programs.written import export_model


@pytest.fixture(scope="module")
def vae():
    made = model(Planar, steps=3).eval().requires_grad_(False)
    for weight in made.posterior.parameters():
        weight.add_(0.3 * torch.randn_like(weight))
    return made


@pytest.fixture(scope="module")
def exported(vae, tmp_path_factory):
    path = tmp_path_factory.mktemp("programs") / "encoder.pt2"
    about = {"run": "first", "config": {"latent": 3}}
    return export_model(vae, path, Examples(images(9)), form="torch-export", about=about)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_program_computes_what_the_model_does(vae, exported, count, monkeypatch):
    x, noise = images(count, 3), torch.randn(count, 3)
    found = TorchExport().load(exported.path)({"x": x, "noise": noise})
    monkeypatch.setattr(torch, "randn", lambda shape, **options: noise.reshape(shape))
    expected = draw(vae.infer(x), (1,))
    torch.testing.assert_close(found["z"], expected.z[0])
    torch.testing.assert_close(found["log_q"], expected.log_prob[0])
    assert [*found] == ["z", "log_q"]  # a flow has no mean by formula


def test_a_file_tells_what_it_is_and_holds_no_pickle(exported):
    assert str(exported).startswith("encoder: x (N, 1, 4, 4), noise (N, 3) → z (N, 3), log_q (N)")
    with zipfile.ZipFile(exported.path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    notes = json.loads(contents["archive/extra/about.json"])
    assert notes["run"] == "first"
    assert notes["config"] == {"latent": 3}
    assert notes["inputs"]["x"]["shape"] == ["N", *SHAPE]
    assert notes["outputs"]["log_q"]["meaning"] == "log q(z|x) of the draw z, in nats"
    assert not any(str(Path(vaeflow.__file__).parents[1]).encode() in c for c in contents.values())
    assert not any(content.startswith((b"PK", b"\x80")) for content in contents.values())


@pytest.mark.parametrize("wrong", [9, 1])
def test_a_file_that_computes_anything_else_is_removed(vae, tmp_path, monkeypatch, wrong):
    class Off(TorchExport):
        def load(self, path):
            def run(inputs):
                found = program(inputs)
                return {**found, "mean": found["mean"] + 1e-4 * (len(found["mean"]) == wrong)}

            program = super().load(path)
            return run

    monkeypatch.setitem(written.FORMATS, "torch-export", Off())
    with pytest.raises(ConfigError, match=r"mean differs from the model's by 1\.0e-04"):
        export_model(
            vae, tmp_path / "d.pt2", Examples(images(9)), part="decoder", form="torch-export"
        )
    assert not [*tmp_path.iterdir()]


def test_a_file_that_cannot_be_run_is_removed(vae, tmp_path, monkeypatch):
    class Broken(TorchExport):
        def load(self, path):
            raise RuntimeError("no such operator")

    monkeypatch.setitem(written.FORMATS, "torch-export", Broken())
    with pytest.raises(
        ConfigError, match=r"cannot run it on 9 examples \(RuntimeError: no such op"
    ):
        export_model(vae, tmp_path / "d.pt2", Examples(images(9)), form="torch-export")
    assert not [*tmp_path.iterdir()]


def test_parts_that_fix_the_number_of_examples_are_refused(tmp_path):
    class Fixed(Planar):
        def forward(self, h):
            return super().forward(h.reshape(len(h), -1))

    with pytest.raises(ConfigError, match=r"posterior Fixed .it fixes the number N of examples"):
        export_model(model(Fixed), tmp_path / "x.pt2", Examples(images(3)), form="torch-export")
    assert not [*tmp_path.iterdir()]


def test_wrong_words_are_refused(vae, tmp_path):
    with pytest.raises(ConfigError, match="--part code: encoder, decoder or sampler"):
        export_model(vae, tmp_path / "x.pt2", Examples(images(2)), part="code", form="torch-export")
    assert format_of(tmp_path / "x.onnx", None) == "onnx"
    with pytest.raises(ConfigError, match=r"must end in \.onnx"):
        format_of(tmp_path / "x.pt2", "onnx")
    with pytest.raises(ConfigError, match=r"must end in \.pt2 or \.onnx"):
        format_of(tmp_path / "x.txt", None)
    with pytest.raises(ConfigError, match="--format pickle: torch-export or onnx"):
        format_of(tmp_path / "x.pt2", "pickle")
