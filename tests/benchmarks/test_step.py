"""The benchmark of steps, in small; and that its contenders compute the same."""

import json
import sys

import pytest
import torch
from click.testing import CliRunner

from vaeflow.parts.objectives.elbo import ELBO

NAMES = ("step", "peers", "by_hand", "work", "common")


@pytest.fixture(scope="module")
def parts(script):
    return {name: sys.modules[name if name == "step" else f"shared.{name}"] for name in NAMES}


@pytest.fixture
def small(parts, monkeypatch, tmp_path):
    """Few images, all in one batch; results elsewhere."""
    monkeypatch.setattr(parts["work"], "IMAGES", 20)
    monkeypatch.setattr(parts["work"], "HELD_OUT", 10)
    monkeypatch.setattr(parts["common"], "RESULTS", tmp_path)
    return tmp_path


def test_the_script_measures_each_contender_in_each_run(script, parts, small):
    args = ["--repeat", "2", "--rounds", "1", "--steps", "1", "--epochs", "1"]
    result = CliRunner().invoke(script.main, args, catch_exceptions=False)
    assert result.exit_code == 0
    figures = json.loads((small / "step.json").read_text(encoding="utf-8"))
    there = {name for name in parts["peers"].PEERS if parts["peers"].installed(name)}
    for name in parts["peers"].PEERS:
        assert (f"{name}: its library is not installed" in result.output) == (name not in there)
    assert len(figures["runs"]) == len(figures["epochs"]) == 2
    ours = {f"{who} {work}" for who in ("vaeflow", "own floor") for work in script.WORK}
    for times in figures["runs"]:
        assert set(times) == {"floor"} | ours | there
        assert all(len(seconds) == 1 and seconds[0] > 0 for seconds in times.values())
    text = (small / "step.md").read_text(encoding="utf-8")
    first = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")]
    assert {*there, "floor", "vaeflow identity", "epoch over its steps"} <= set(first)
    met = [line for line in text.splitlines() if line.endswith("of 2 |")]
    assert len(met) == sum(c.a in there or c.a[0] in "ve" for c in script.CLAIMS)


def test_a_ratio_is_taken_within_a_round_of_a_run(script):
    slow = {"floor": [1.0, 2.0, 1.0], "vaeflow identity": [1.5, 3.0, 9.0]}
    fast = {"floor": [1.0] * 3, "vaeflow identity": [1.7] * 3}
    peer = {"Pyro identity": [3.0, 6.0, 18.0]}
    runs = [slow | peer, fast | peer]
    (row,) = script.verdicts(runs, [])
    assert row == ["vaeflow identity over floor", "≤ 1.6", "1.50, 1.70", "1 of 2"]
    assert script.verdicts([fast], [1.05, 1.06])[1][2:] == ["1.05, 1.06", "1 of 2"]
    rows = {name: cells for name, *cells in script.rows_of(runs)}
    assert rows["vaeflow identity"] == ["1700.00", "1.50, 1.70", "", ""]
    assert rows["Pyro identity"] == ["6000.00", "3.00, 6.00", "", "2.00, 3.53"]


def test_a_claim_of_speed_is_a_lower_bound(script):
    claim = next(c for c in script.CLAIMS if c.relation == "≥")
    assert claim.holds(claim.bound + 0.1)
    assert not claim.holds(claim.bound - 0.1)


def vaeflow_of(parts, name, vae):
    """Return vaeflow's model with the weights of one written by hand."""
    work = parts["work"]
    model = work.vaeflow_trainer(work.WORK[name], work.data(), 1).model
    model.encoder.layers.load_state_dict(vae.encoder.state_dict())
    model.posterior.head.load_state_dict(vae.head.state_dict())
    model.decoder.layers.load_state_dict(vae.decoder.state_dict())
    if vae.flow is not None:
        heads = [m.head for m in vae.flow.maps]
        sizes = [work.LATENT, work.LATENT, 1]
        weights = zip(*(h.weight.split(sizes) for h in heads), strict=True)
        biases = zip(*(h.bias.split(sizes) for h in heads), strict=True)
        flow = model.posterior.flow
        with torch.no_grad():  # FlowParameters divides the features by √F
            flow.weight.copy_(torch.cat([w for kind in weights for w in kind]) * work.HIDDEN**0.5)
            flow.bias.copy_(torch.cat([b for kind in biases for b in kind]))
    return model


@pytest.mark.parametrize("name", ["identity", "planar 16"])
def test_the_loop_by_hand_minimizes_vaeflows_negative_elbo(parts, small, name):
    by_hand = parts["by_hand"]
    torch.manual_seed(0)
    vae = by_hand.VAE(by_hand.cross_entropy, by_hand.Planar if name == "planar 16" else None)
    model = vaeflow_of(parts, name, vae)
    x = torch.bernoulli(torch.rand(10, 1, 28, 28))
    torch.manual_seed(1)
    loss = vae(x.flatten(1))
    torch.manual_seed(1)
    elbo = ELBO(kl="analytic" if name == "identity" else "sampled")
    theirs = -elbo(model(x), torch.ones(())).mean()
    torch.testing.assert_close(loss, theirs, rtol=1e-5, atol=0)
    loss.backward()
    theirs.backward()
    torch.testing.assert_close(
        vae.encoder[0].weight.grad, model.encoder.layers[0].weight.grad, rtol=1e-3, atol=1e-6
    )


def test_the_planar_maps_by_hand_equal_vaeflows(parts, small):
    by_hand = parts["by_hand"]
    torch.manual_seed(0)
    vae = by_hand.VAE(by_hand.cross_entropy, by_hand.Planar)
    with torch.no_grad():
        for planar in vae.flow.maps:
            planar.head.weight.mul_(2)  # farther from the identity
    model = vaeflow_of(parts, "planar 16", vae)
    z, h = torch.randn(10, 20), torch.rand(10, 500)
    ours, theirs = vae.flow(z, h), model.posterior.maps(h)(z)
    assert theirs[1].abs().mean() > 0.5
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


class NoFlow(torch.nn.Module):
    """Nothing, which makes the loop by hand estimate its KL from the draw."""

    def forward(self, z, h):
        return z, torch.zeros(len(z))


def first_loss(make, images):
    """Return the loss of the first step for weights, order, binarization and noise of one seed."""
    torch.manual_seed(0)
    step = make(images)
    torch.manual_seed(1)
    return step()


@pytest.mark.parametrize(
    "name", ["Pyro identity", "Pyro planar 16", "Pythae identity", "normflows identity"]
)
def test_a_peers_first_loss_is_that_of_the_loop_by_hand(parts, small, name):
    peers, by_hand = parts["peers"], parts["by_hand"]
    if not peers.installed(name):
        pytest.skip(f"{name.partition(' ')[0]} is not installed")
    flows = {
        "Pyro identity": NoFlow, "Pyro planar 16": by_hand.Planar, "Pythae identity": None,
        "normflows identity": NoFlow,
    }  # fmt: skip
    images = parts["work"].data().train
    ours = first_loss(by_hand.plain(flow=flows[name]), images)
    assert first_loss(peers.PEERS[name], images) == pytest.approx(ours, rel=1e-5)
