"""Coupling and autoregressive maps against autograd's Jacobian, plain loops and their inverses."""

import pytest
import torch
from torch.autograd import gradcheck
from torch.autograd.functional import jacobian

from vaeflow.maps.autoregressive import Autoregressive
from vaeflow.maps.coupling import Coupling
from vaeflow.maps.spline import Spline
from vaeflow.maps.stack import Backwards, Stack
from vaeflow.maps.univariate import Affine, Gate
from vaeflow.nn.masked import Hidden

FEATURES = 4
UNIVARIATES = {"affine": Affine(), "spline": Spline(5), "gate": Gate()}
TOLERANCE = {"rtol": 0, "atol": 1e-10}
forms = pytest.mark.parametrize("form", ["coupling", "autoregressive"])
families = pytest.mark.parametrize("univariate", ["affine", "spline", "gate"])


def noise(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def stack(latent, form, univariate, *, steps=3, features=FEATURES, depth=2, start=False):
    torch.manual_seed(latent)
    made = Stack(
        latent,
        features,
        UNIVARIATES[univariate],
        Hidden(16, depth, "elu"),
        form=form,
        steps=steps,
    ).double()
    with torch.no_grad():
        for name, p in made.named_parameters():
            if not start:
                p.normal_(std=0.7 if ".last." in name else 0.5)
    return made


def through(maps, z):
    total = z.new_zeros(z.shape[:-1])
    for f in maps:
        z, log_det = f(z)
        total = total + log_det
    return z, total


def undo(maps, z):
    total = z.new_zeros(z.shape[:-1])
    for f in reversed(maps):
        z, log_det = f.inverse(z)
        total = total + log_det
    return z, total


@families
@forms
@pytest.mark.parametrize("latent", [1, 2, 3, 6])
def test_log_det_is_that_of_the_jacobian(latent, form, univariate):
    maps = stack(latent, form, univariate)(noise(3, FEATURES))
    z = noise(5, 3, latent, seed=1)
    y, log_det = through(maps, z)
    assert (y.shape, log_det.shape) == (z.shape, z.shape[:-1])
    full = jacobian(lambda x: through(maps, x)[0], z[0], vectorize=True)  # (B, L, B, L)
    expected = torch.linalg.slogdet(torch.stack([full[i, :, i] for i in range(3)]))
    assert expected.logabsdet.abs().min() > 1e-3
    assert (expected.sign == 1).all()
    torch.testing.assert_close(log_det[0], expected.logabsdet, rtol=0, atol=1e-9)
    for i, j in ((0, 1), (1, 0), (2, 0)):
        assert full[i, :, j].count_nonzero() == 0


@families
@forms
@pytest.mark.parametrize("latent", [1, 2, 5])
def test_inverse_undoes_the_maps(latent, form, univariate):
    maps = stack(latent, form, univariate)(noise(3, FEATURES))
    z = noise(7, 3, latent, seed=1)
    y, log_det = through(maps, z)
    back, again = undo(maps, y)
    torch.testing.assert_close(back, z, **TOLERANCE)
    torch.testing.assert_close(again, log_det, rtol=0, atol=1e-9)


@families
@forms
def test_maps_run_backwards_are_the_inverse_maps(form, univariate):
    maps = stack(3, form, univariate)(noise(2, FEATURES))
    z = noise(4, 2, 3, seed=1)
    y, log_det = through(maps, z)
    backwards = [Backwards(f) for f in reversed(maps)]
    back, again = through(backwards, y)
    torch.testing.assert_close(back, z, **TOLERANCE)
    torch.testing.assert_close(again, -log_det, rtol=0, atol=1e-9)
    forth, once_more = undo(backwards, z)
    assert torch.equal(forth, y)
    assert torch.equal(once_more, -log_det)


@families
@forms
def test_without_context_the_maps_take_z_of_any_shape(form, univariate):
    maps = stack(3, form, univariate, features=0)()
    z = noise(4, 2, 3)
    y, log_det = through(maps, z)
    alone, alone_log_det = through(maps, z[1, 1])
    assert (alone.shape, alone_log_det.shape) == ((3,), ())
    torch.testing.assert_close(alone, y[1, 1], **TOLERANCE)
    torch.testing.assert_close(alone_log_det, log_det[1, 1], **TOLERANCE)
    for empty in (through, undo):
        y, log_det = empty(maps, z[:, :0])
        assert (y.shape, log_det.shape) == ((4, 0, 3), (4, 0))


@pytest.mark.parametrize("univariate", ["affine", "spline"])
@forms
@pytest.mark.parametrize("latent", [1, 4])
def test_stack_starts_as_the_identity(latent, form, univariate):
    maps = stack(latent, form, univariate, start=True)(noise(2, FEATURES))
    z = noise(4, 2, latent)
    for y, log_det in (through(maps, z), undo(maps, z)):
        torch.testing.assert_close(y, z, rtol=0, atol=1e-13)
        torch.testing.assert_close(log_det, torch.zeros(4, 2).double(), rtol=0, atol=1e-13)


@forms
@pytest.mark.parametrize("latent", [1, 2, 5])
def test_two_steps_move_every_dimension(latent, form):
    z = noise(4, 2, latent)
    y, _ = through(stack(latent, form, "affine", steps=2)(noise(2, FEATURES)), z)
    assert ((y - z).abs().amax((0, 1)) > 1e-3).all()


@forms
def test_every_map_sees_the_context(form):
    made = stack(3, form, "affine", steps=1)
    j = jacobian(lambda h: through(made(h[None]), noise(1, 3))[0][0], noise(FEATURES))
    moved = j.abs().sum(-1) > 0
    assert moved.tolist() == (
        [True, True, True] if form == "autoregressive" else [True, True, False]
    )


@pytest.mark.parametrize("reverse", [False, True])
def test_coupling_moves_one_half_by_the_other(reverse):
    torch.manual_seed(0)
    layer = Coupling(5, 0, Affine(), Hidden(8, 1, "elu"), reverse=reverse).double()
    torch.nn.init.normal_(layer.net.last.weight)
    still, moved = (slice(0, 3), slice(3, 5)) if reverse else (slice(3, 5), slice(0, 3))
    z = noise(5)
    j = jacobian(lambda x: layer()(x)[0], z)
    y, log_det = layer()(z)
    assert torch.equal(y[still], z[still])
    assert torch.equal(j[still, still], torch.eye(len(z[still])).double())
    assert j[still, moved].count_nonzero() == 0
    assert j[moved, still].count_nonzero() == j[moved, still].numel()
    # Dinh et al. 2017, eqs. 7-8, from the raw weights; Adam's factor 1/√8, and |s| < 3.
    net = layer.net
    hidden = torch.nn.functional.elu(net.first.weight @ z[still] + net.first.bias)
    a, t = (net.last.weight @ hidden / 8**0.5 + net.last.bias).chunk(2)
    s = 3 * torch.tanh(a / 3)
    torch.testing.assert_close(y[moved], z[moved] * s.exp() + t, **TOLERANCE)
    torch.testing.assert_close(log_det, s.sum(), **TOLERANCE)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("depth", [1, 3])
def test_autoregressive_jacobian_is_triangular(depth, reverse):
    torch.manual_seed(0)
    hidden = Hidden(16, depth, "elu")
    layer = Autoregressive(4, FEATURES, Affine(), hidden, reverse=reverse).double()
    torch.nn.init.normal_(layer.net.last.weight)
    f = layer(noise(1, FEATURES))
    j = jacobian(lambda x: f(x[None])[0][0], noise(4))
    j = j.flip(0, 1) if reverse else j
    assert j.triu(1).count_nonzero() == 0
    assert j.tril().count_nonzero() == 10


def test_inverse_of_an_affine_autoregressive_map_is_a_loop():
    """A masked autoregressive flow, drawn: x_i = (u_i − t_i(x_<i)) e^{−s_i(x_<i)}, i = 1 … L."""
    f = stack(4, "autoregressive", "affine", steps=1)(noise(1, FEATURES))[0]
    u = noise(1, 4)
    x = torch.full((1, 4), 7.0, dtype=torch.float64)  # what is not known yet must not matter
    for i in range(4):
        a, t = f.net(x, f.context).unflatten(-1, (2, 4)).unbind(-2)
        x[:, i] = (u[:, i] - t[:, i]) * torch.exp(-3 * torch.tanh(a[:, i] / 3))
    torch.testing.assert_close(f.inverse(u)[0], x, **TOLERANCE)


@families
@forms
def test_both_directions_pass_gradcheck(form, univariate):
    made = stack(3, form, univariate, steps=2, depth=1)
    weights = list(made.parameters())

    def forth(z, h, *_):
        return through(made(h), z)

    def back(z, h, *_):
        return undo(made(h), z)

    inputs = (noise(2, 2, 3).requires_grad_(), noise(2, FEATURES).requires_grad_(), *weights)
    for f in (forth, back):
        assert gradcheck(f, inputs, fast_mode=True)


@pytest.mark.parametrize("univariate", ["affine", "spline"])
@forms
def test_extremes_are_finite_in_float32(form, univariate):
    made = stack(3, form, univariate, steps=4, depth=1).float()
    with torch.no_grad():
        for layer in made.layers:
            layer.net.last.bias.copy_(50 * layer.net.last.bias.sign())
    z = noise(2, 2, 3).float()
    z[0] *= 1e4
    z.requires_grad_()
    for run in (through, undo):
        y, log_det = run(made(torch.ones(2, FEATURES)), z)
        for value in (y, log_det):
            assert value.isfinite().all()
            inputs = [z, *made.parameters()]
            for gradient in torch.autograd.grad(
                value.sum(), inputs, retain_graph=True, allow_unused=True
            ):
                assert gradient is None or gradient.isfinite().all()


def test_affine_log_scale_is_bounded():
    theta = torch.tensor([[1e6, -1e6], [0.0, 0.0]])
    _, log_slope = Affine(3.0)(torch.ones(2), theta)
    assert log_slope.tolist() == [3.0, -3.0]
