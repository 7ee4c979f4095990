"""The Gaussian-mixture prior against torch's mixture."""

import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from vaeflow.parts.priors.mixture import Mixture


def test_density_equals_torchs_mixture():
    torch.manual_seed(0)
    prior = Mixture(3, (1, 4, 4), components=5).double()
    with torch.no_grad():
        for p in prior.parameters():
            p.normal_()
    normal = Independent(Normal(prior.loc, (0.5 * prior.log_variance).exp()), 1)
    oracle = MixtureSameFamily(Categorical(logits=prior.logits), normal)
    z = 2 * torch.randn(7, 2, 3, dtype=torch.float64)
    seen = prior(None).log_prob(z)
    torch.testing.assert_close(seen, oracle.log_prob(z), rtol=0, atol=1e-10)


def test_start_has_equal_weights_and_spread_means():
    torch.manual_seed(0)
    prior = Mixture(50, (2,), components=40, spread=2.0)
    assert not prior.logits.any()
    assert not prior.log_variance.any()
    assert 1.9 < prior.loc.std() < 2.1
    # Of spread 0 there is one standard normal.
    p = Mixture(3, (2,), components=4, spread=0.0)(None)
    z = torch.randn(5, 3)
    wanted = Normal(0.0, 1.0).log_prob(z).sum(-1)
    torch.testing.assert_close(p.log_prob(z), wanted, rtol=1e-5, atol=1e-5)


def test_it_learns_the_clusters_of_its_samples():
    torch.manual_seed(0)
    centres = torch.tensor([[3.0, 0.0], [-3.0, 1.0]])
    z = centres[torch.arange(2000) % 2] + 0.5 * torch.randn(2000, 2)
    prior = Mixture(2, (2,), components=2)
    optimizer = torch.optim.Adam(prior.parameters(), lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        loss = -prior(None).log_prob(z).mean()
        loss.backward()
        optimizer.step()
    entropy = 1 + torch.log(torch.tensor(2 * torch.pi * 0.25)) + torch.log(torch.tensor(2.0))
    assert abs(loss.item() - entropy.item()) < 0.05
