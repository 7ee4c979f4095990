"""The features of covariates."""

import torch

from vaeflow.nn.embedding import Embedding, width_of


def test_a_number_stays_and_a_level_becomes_its_vector():
    embedding = Embedding([3, 0, 20])
    condition = torch.tensor([[2.0, -0.5, 19.0], [0.0, 1.5, 7.0]])
    seen = embedding(condition)
    first, last = (vectors.weight for vectors in embedding.vectors)
    assert seen.shape == (2, embedding.width) == (2, 3 + 1 + 8)
    torch.testing.assert_close(seen[:, :3], first[[2, 0]])
    torch.testing.assert_close(seen[:, 3], torch.tensor([-0.5, 1.5]))
    torch.testing.assert_close(seen[:, 4:], last[[19, 7]])


def test_the_middle_is_the_mean_over_all_levels_and_0_of_a_number():
    embedding = Embedding([3, 0])
    every = embedding(torch.tensor([[0.0, 1.0], [1.0, 0.0], [2.0, -1.0]]))
    torch.testing.assert_close(embedding.middle()[0], every.mean(0))
    assert Embedding([0, 0]).middle().tolist() == [[0.0, 0.0]]


def test_no_covariates_have_no_width():
    assert width_of([]) == 0
