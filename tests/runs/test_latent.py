"""The latent space of a run as a plane: codes by their labels, and the manifold."""

import numpy as np
import pytest
import torch
from scipy import stats

import vaeflow
from vaeflow.data.columns import Column, Columns
from vaeflow.errors import ConfigError
from vaeflow.latents.plane import Latent, Manifold
from vaeflow.parts.datasets.files.tables import read_table
from vaeflow.runs.directory import Run

SMALL = {"encoder": ("mlp", {"hidden": [8]}), "decoder": ("mlp", {"hidden": [8]})}


def test_codes_lie_in_the_plane_of_their_principal_components(people_run, people):
    found = vaeflow.latent(people_run, people, progress=False)
    codes = vaeflow.encode(people_run, people).z
    assert np.array_equal(found.z, codes)
    center = codes - codes.mean(0)
    squares = np.linalg.eigvalsh(center.T @ center)[::-1]
    np.testing.assert_allclose(found.share, (squares / squares.sum())[:2], rtol=1e-4)
    np.testing.assert_allclose((found.points**2).sum(0), squares[:2], rtol=1e-4)
    assert (found.name, found.values.tolist()[:2]) == ("group", ["a", "b"])  # ids are no label
    assert found.axes[0] == f"principal component 1: {found.share[0]:.1%} of the variance of z"
    table = read_table(people)
    own = vaeflow.latent(people_run, label="age", progress=False)  # on its way through x
    rows = np.array(own.beside["row"]) - 2
    np.testing.assert_allclose(own.values, table["age"][rows], atol=1e-4)
    assert len(rows) == len(table["age"])
    with pytest.raises(ConfigError, match="no such label"):
        vaeflow.latent(people_run, label="agee")


def test_a_label_comes_before_a_covariate_and_a_collapsed_model_is_told(people_run, people, caplog):
    table = read_table(people)
    frame = dict(table)
    found = vaeflow.latent(people_run, {**frame, "ward": table["group"]}, progress=False)
    assert found.name == "ward"
    model = Run.open(people_run).model
    assert "no dimension is active" not in caplog.text
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
    vaeflow.latent(model, frame, progress=False)
    assert "no dimension is active: Var E[z_i|x]" in caplog.text


@pytest.mark.parametrize("latent", [1, 2, 3])
def test_every_number_of_dimensions_has_a_picture(latent):
    z = np.random.RandomState(0).randn(30, latent).astype(np.float32)
    found = Latent.of(z, np.arange(30) % 3, "kind")
    assert found.points.shape == (30, 2)
    if latent == 2:
        assert np.array_equal(found.points, z)
    assert found.figure().axes[0].get_xlabel() == found.axes[0]
    assert Latent.of(z[:1]).points.shape == (1, 2)


def test_the_manifold_decodes_quantiles_of_the_prior():
    model = vaeflow.build((1, 4, 4), latent=2, **SMALL)
    found = Manifold.of(model)
    normal = stats.norm.ppf((np.arange(20) + 0.5) / 20)
    np.testing.assert_allclose(found.z[5, :, 0], normal, atol=1e-6)
    np.testing.assert_allclose(found.z[:, 5, 1], normal[::-1], atol=1e-6)
    with torch.no_grad():
        corner = model.generate(torch.from_numpy(found.z[0, -1])[None, None]).mean[0, 0]
    np.testing.assert_allclose(found.x[0, -1], corner, rtol=1e-5)
    assert found.figure().axes[0].get_xlabel() == "z0, at quantiles of the prior"
    of_table = Manifold(found.z, found.x.reshape(20, 20, 16)[..., :2], Columns((
        Column("age", "number", 40, 10), Column("smokes", "boolean", levels=("no", "yes")),
    )))  # fmt: skip
    assert [axes.get_title() for axes in of_table.figure().axes[:2]] == ["age", "smokes"]
    assert set(of_table.columns["smokes"]) <= {"no", "yes"}


def test_the_command_writes_what_it_is_asked_for(cli, trained, here):
    for name in ("codes.png", "codes.csv"):
        done = cli("latent", trained, "--label", "split", "--out", name)
        assert (done.code, done.out) == (0, f"wrote {name}\n"), done.err
    assert list(read_table(here / "codes.csv")) == [
        "split", "row", "z0", "z1", "z2", "component1", "component2",
    ]  # fmt: skip
    done = cli("latent", trained, "--manifold", "--out", "manifold.png")
    assert "z has 3 dimensions, but the grid is a plane of 2" in done.err
