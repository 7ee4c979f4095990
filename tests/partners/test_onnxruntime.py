"""Exported parts in onnxruntime, and recorded posteriors in torch, against the models."""

import io
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import vaeflow
from vaeflow.data.examples import Examples
from vaeflow.distributions import draw
from vaeflow.errors import ConfigError
from vaeflow.plugins.loading import load_plugins
from vaeflow.plugins.registry import BUILTIN
from vaeflow.programs.formats import record
from vaeflow.programs.parts import program_of
from vaeflow.programs.written import export_model

SHAPE, LATENT = (1, 4, 4), 3
SMALL = {"encoder": ("mlp", {"hidden": [8]}), "decoder": ("mlp", {"hidden": [8]})}
FEW = {
    **{key: {"steps": 2} for key in ("householder", "planar", "radial", "iaf", "realnvp")},
    "spline": {"steps": 1, "bins": 3},
    "sylvester": {"steps": 1},
    "flow": {"steps": 1},
}


def builtin(kind):
    return [p.name for p in load_plugins().registry.parts(kind) if p.distribution == BUILTIN]


def small(posterior="identity", **parts):
    """Return a model whose posterior and prior are far from where they start."""
    torch.manual_seed(0)
    chosen = (posterior, FEW.get(posterior, {}))
    model = vaeflow.build(SHAPE, posterior=chosen, latent=LATENT, **{**SMALL, **parts})
    model.eval().requires_grad_(False)
    for weight in (*model.posterior.parameters(), *model.prior.parameters()):
        weight.add_(0.2 * torch.randn_like(weight))
    return model


def images(count):
    return torch.rand(count, *SHAPE).round()


def session(model, path, **options):
    exported = export_model(model, path, Examples(images(20)), form="onnx", **options)
    onnx.checker.check_model(path)
    return exported, onnxruntime.InferenceSession(path)


class Recorded(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        sample = draw(self.model.infer(x), (1,))
        return sample.z[0], sample.log_prob[0]


@pytest.mark.parametrize("posterior", builtin("posterior"))
def test_every_posterior_in_onnxruntime(posterior, tmp_path, monkeypatch):
    model = small(posterior)
    exported, run = session(model, tmp_path / "encoder.onnx")
    assert [*tmp_path.iterdir()] == [exported.path]  # one file
    assert {each.shape[0] for each in (*run.get_inputs(), *run.get_outputs())} == {"N"}
    assert str(Path(vaeflow.__file__).parents[1]).encode() not in exported.path.read_bytes()
    nothing = {name: np.zeros((0, *s), np.float32) for name, s in exported.inputs.items()}
    assert {len(each) for each in run.run(None, nothing)} == {0}
    x, noise = images(7), torch.randn(7, *exported.inputs["noise"])
    found = run.run(None, {"x": x.numpy(), "noise": noise.numpy()})
    found = {o.name: f for o, f in zip(run.get_outputs(), found, strict=True)}
    q = model.infer(x)
    if posterior != "mixture":
        monkeypatch.setattr(torch, "randn", lambda shape, **options: noise.reshape(shape))
        expected = draw(q, (1,))
        np.testing.assert_allclose(found["z"], expected.z[0], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(found["log_q"], expected.log_prob[0], rtol=1e-5, atol=1e-5)
    else:
        log_q = q.log_prob(torch.from_numpy(found["z"]))
        np.testing.assert_allclose(found["log_q"], log_q, rtol=1e-5, atol=1e-5)
    assert ("mean" in found) == (posterior in ("identity", "full-gaussian", "mixture"))
    if "mean" in found:
        np.testing.assert_allclose(found["mean"], q.mean, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("prior", builtin("prior"))
def test_every_prior_in_onnxruntime(prior, tmp_path):
    model = small(prior=(prior, FEW.get(prior, {})))
    exported, run = session(model, tmp_path / "sampler.onnx", part="sampler")
    noise = np.random.default_rng(0).standard_normal((5000, *exported.inputs["noise"]))
    mean, z = run.run(["mean", "z"], {"noise": noise[:0].astype(np.float32)})
    assert (len(mean), len(z)) == (0, 0)
    mean, z = run.run(["mean", "z"], {"noise": noise.astype(np.float32)})
    np.testing.assert_allclose(
        mean, model.generate(torch.from_numpy(z)[None]).mean[0], rtol=1e-5, atol=1e-5
    )
    drawn = model.latent_prior().sample((5000,)).numpy()  # the same law: means and covariances
    error = 6 * drawn.std(0) / np.sqrt(len(drawn))
    assert (abs(z.mean(0) - drawn.mean(0)) < error * np.sqrt(2)).all()
    np.testing.assert_allclose(np.cov(z.T), np.cov(drawn.T), atol=0.15 * np.cov(drawn.T).max())


@pytest.mark.parametrize("likelihood", ["bernoulli", "negative-binomial", "student-t"])
def test_likelihoods_in_onnxruntime(likelihood, tmp_path):
    model = small(likelihood=likelihood)
    _, run = session(model, tmp_path / "decoder.onnx", part="decoder")
    z = torch.randn(1, LATENT)  # one example, and no guess of more
    mean, output = run.run(["mean", "output"], {"z": z.numpy()})
    np.testing.assert_allclose(mean, model.generate(z[None]).mean[0], rtol=1e-5, atol=1e-5)
    assert output.shape == (1, *model.likelihood.output_shape)


@pytest.mark.parametrize("network", builtin("encoder"))
def test_every_network_leaves_the_number_of_examples_free(network):
    model = small(encoder=network, decoder=network)
    for part, inputs in (
        ("encoder", {"x": images(3), "noise": torch.randn(3, LATENT)}),
        ("decoder", {"z": torch.randn(3, LATENT)}),
    ):
        program = program_of(model, part)
        recorded = record(program, inputs).module()
        for rows in (slice(0, 0), slice(0, 1), slice(0, 2)):
            some = [each[rows] for each in inputs.values()]
            torch.testing.assert_close(dict(recorded(*some)), program(*some))


def test_gaps_and_covariates_are_inputs(tmp_path):
    model = small("planar", missing="mask", condition={"site": ["north", "south"] * 3})
    condition = torch.tensor([[0.0], [1.0]] * 5)
    x = torch.where(torch.rand(10, *SHAPE) < 0.3, torch.nan, images(10))
    path = tmp_path / "encoder.onnx"
    exported = export_model(model, path, Examples(x, condition), form="onnx")
    noise = torch.randn(10, *exported.inputs["noise"]).numpy()
    run = onnxruntime.InferenceSession(path)
    z, other = (
        run.run(["z"], {"x": x.numpy(), "noise": noise, "condition": each.numpy()})[0]
        for each in (condition, 1 - condition)
    )
    assert np.isfinite(z).all()
    assert (abs(z - other) > 1e-6).any(1).all()
    notes = run.get_modelmeta().custom_metadata_map
    assert '"levels": ["north", "south"]' in notes["covariates"]
    assert notes["vaeflow"] == vaeflow.__version__


def test_what_onnx_cannot_hold_is_refused_in_one_sentence(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"linalg_solve_triangular.*choose --format torch-export"):
        session(small("sylvester"), tmp_path / "x.onnx")
    monkeypatch.setattr("vaeflow.programs.formats.find_spec", lambda name: name != "onnxscript")
    with pytest.raises(ConfigError, match=r"needs onnxscript: `pip install 'vaeflow\[export\]'`"):
        session(small(), tmp_path / "x.onnx")
    assert not [*tmp_path.iterdir()]


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("posterior", builtin("posterior"))
def test_every_posterior_is_recorded_with_gradients_on(posterior):
    program = Recorded(small(posterior).requires_grad_(True))
    x = images(5)
    recorded = torch.export.export(program, (x,), dynamic_shapes={"x": {0: torch.export.Dim("N")}})
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(program, (x,), check_trace=False), buffer)
    buffer.seek(0)
    for other in (recorded.module(), torch.jit.load(buffer)):
        for rows in (x, images(2), images(0)):
            results = []
            for each in (program, other):
                torch.manual_seed(1)
                results.append(each(rows))
            torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5)
