"""Active units."""

import torch
from small_vae import SHAPE, model

from vaeflow.evaluation.active_units import active_units


def test_active_units_follow_the_data():
    vae = model()
    with torch.no_grad():
        vae.posterior.head.weight.zero_()
        vae.posterior.head.weight[0] = 1.0  # the first latent's mean alone depends on x
        torch.manual_seed(0)
        x = torch.rand(1000, *SHAPE).round()
        assert active_units(vae, x) == 1
        vae.posterior.head.weight.zero_()
        assert active_units(vae, x) == 0
