"""The bound on held-out data by which weights are chosen."""

import math

import pytest
import torch
from small_vae import images, model, run

from vaeflow.evaluation.active_units import BATCH
from vaeflow.parts.objectives.elbo import ELBO
from vaeflow.parts.objectives.iwae import IWAE, DReG
from vaeflow.training.validation import validate


@pytest.mark.parametrize("objective", [IWAE, DReG])
def test_a_bound_of_several_samples_is_measured_with_its_own_draws(objective):
    vae, x = model().eval(), (images(BATCH + 30) > 0.5).float()
    torch.manual_seed(4)
    found = validate(vae, x, objective=objective(samples=7, warmup=3))
    torch.manual_seed(4)
    with torch.no_grad():
        each = [vae(batch, 7) for batch in x.split(BATCH)]
    log_w = torch.cat([terms.log_weight for terms in each], 1).double()
    wanted = (log_w.logsumexp(0) - math.log(7)).mean().item()
    assert found["objective"] == pytest.approx(wanted, rel=1e-6)
    elbo = found["log_px"] + found["log_pz"] - found["log_base"] + found["log_det"]
    assert elbo == pytest.approx(log_w.mean().item(), rel=1e-6)
    assert found["objective"] > elbo


def test_an_elbo_is_that_of_one_draw_whatever_the_objective_charges():
    vae, x = model().eval(), (images(30) > 0.5).float()
    torch.manual_seed(4)
    found = validate(vae, x, objective=ELBO(samples=3, beta=5.0))
    torch.manual_seed(4)
    with torch.no_grad():
        assert found["objective"] == pytest.approx(vae(x).log_weight.mean().item(), rel=1e-6)


@pytest.mark.parametrize(("objective", "figure"), [("iwae", "loss"), ("elbo", "elbo")])
def test_the_weights_are_those_of_the_best_bound(objective, figure):
    fitted = run(objective=(objective, {"samples": 20}), epochs=5, lr=0.3)
    sign = -1 if figure == "loss" else 1
    bounds = [sign * record[f"validation/{figure}"] for record in fitted.records]
    assert fitted.progress.best_elbo == max(bounds)
    assert fitted.progress.best_epoch == bounds.index(max(bounds)) + 1
    assert f"best validation {'objective' if figure == 'loss' else 'ELBO'} -" in repr(fitted)
