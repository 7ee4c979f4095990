"""What TensorBoard is told of a run of a table: codes by what its rows are called."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vaeflow.plugins.loading import load_plugins
from vaeflow.runs.board import hparams_of, points_of
from vaeflow.runs.directory import Run
from vaeflow.runs.gallery import gallery_of
from vaeflow.runs.prepare import prepare


@pytest.fixture(scope="module")
def experiment(people_run):
    return prepare(Run(people_run).plan(load_plugins()))


def test_a_row_has_its_covariate_its_id_and_its_number(experiment):
    points = points_of(experiment)
    size = experiment.splits.sizes()["validation"]
    assert points.z.shape == (size, 3)
    assert [*points.labels] == ["group", "id", "row"]  # what tells rows apart comes last
    assert set(points.labels["group"]) == {"a", "b"}
    assert points.thumbnails is None


def test_the_codes_of_a_flow_are_drawn_from_noise_of_their_own(trained):
    experiment = prepare(Run(trained).plan(load_plugins()))
    torch.manual_seed(3)
    before = torch.get_rng_state()
    z = points_of(experiment).z
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    assert np.array_equal(points_of(experiment).z, z)


def test_watching_leaves_the_model_as_it_is(experiment):
    model = experiment.model
    grads = [p.requires_grad for p in model.parameters()]
    gallery = gallery_of(experiment)
    assert gallery.pictures == {}  # a row is no picture
    assert {name for name, _ in gallery.measured(1, model)} == {
        "latent/kl_per_dimension", "latent/variance_of_means"
    }  # fmt: skip
    assert [p.requires_grad for p in model.parameters()] == grads


def test_the_dataset_is_among_the_columns(experiment):
    found = hparams_of(experiment)
    assert found["Dataset"] == "table"
    assert found["Likelihood"] == "columns"
    assert found["condition"] == "group"
    assert "dataset.path" in found
