"""Contract checks for parts: every built-in passes them, and every plugin can.

``check("posterior", MyPosterior)`` runs all checks of a kind and raises on the first that fails;
``checks("posterior")`` lists them, so that a test suite can report a verdict for each::

    @pytest.mark.parametrize("law", checks("posterior"), ids=lambda law: law.__name__)
    def test_contract(law):
        law(MyPosterior)

The checks of a posterior need no inverse and no knowledge of the flow: they hand it the noise that
it draws, so that z is a function of that noise, whose Jacobian autograd knows.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints
from torch.overrides import TorchFunctionMode

from vaeflow.data import Splits
from vaeflow.distributions import DiagonalNormal, Draw, draw
from vaeflow.model import Terms

Part = Callable[..., Any]  # a part's class, or functools.partial of it with options
Check = Callable[[Part], None]

_CHECKS: dict[str, list[Check]] = {}
_FEATURES = 7
_DATA_SHAPE = (1, 4, 3)


def checks(kind: str) -> list[Check]:
    """Return the checks of a kind of part; each takes the class and raises AssertionError."""
    return list(_CHECKS[kind])


def check(kind: str, part: Part) -> None:
    """Run every check of a kind.

    Raises:
        AssertionError: naming the law that the part breaks.
    """
    for law in checks(kind):
        law(part)


def _law(kind: str) -> Callable[[Check], Check]:
    def add(function: Check) -> Check:
        _CHECKS.setdefault(kind, []).append(function)
        return function

    return add


class GivenNoise(TorchFunctionMode):
    """Inside this context, torch's standard normal draws return `noise`, reshaped as asked.

    Raises:
        NotImplementedError: for a draw of another size or kind of noise.
    """

    def __init__(self, noise: Tensor) -> None:
        super().__init__()
        self.noise = noise

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in (torch.Tensor.normal_, torch.randn, torch.randn_like, torch.normal):
            wanted = func(*args, **(kwargs or {}))
            if wanted.numel() != self.noise.numel():
                raise NotImplementedError(
                    f"the part draws {tuple(wanted.shape)} normals where "
                    f"{tuple(self.noise.shape)} are expected: one for each latent dimension"
                )
            return self.noise.reshape(wanted.shape).to(wanted.dtype)
        return func(*args, **(kwargs or {}))


def far_from_start(module: nn.Module, scale: float = 2.0, seed: int = 0) -> nn.Module:
    """Redraw every parameter: a log-determinant can be right near the start alone.

    A weight matrix is drawn from N(0, scale²/n_in), which keeps what it returns at `scale` times
    what it is given, anything else from N(0, scale²/4).
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            size = scale / math.sqrt(p.shape[-1] if p.dim() > 1 else 4)
            p.copy_(size * torch.randn(p.shape, generator=generator, dtype=torch.float64))
    return module


def _posterior(
    part: Part,
    latent: int,
    *,
    scale: float = 2.0,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> nn.Module:
    made: nn.Module = part(latent, _FEATURES).to(dtype)
    return far_from_start(made, scale, seed)


def _features(batch: int, dtype: torch.dtype = torch.float64, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, _FEATURES, generator=generator, dtype=dtype)


def _noise(*shape: int, seed: int = 2) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _given(q: Distribution, noise: Tensor) -> Draw:
    """Draw from q with `noise` (*, B, L) in place of its own."""
    with GivenNoise(noise):
        return draw(q, noise.shape[: -1 - len(q.batch_shape)])


def _close(seen: Tensor, wanted: Tensor, what: str, tolerance: float = 1e-9) -> None:
    assert seen.shape == wanted.shape, (
        f"{what}: shape {tuple(seen.shape)}, not {tuple(wanted.shape)}"
    )
    error = (seen - wanted).abs().max().item() if seen.numel() else 0.0
    size = 1.0 + (wanted.abs().max().item() if wanted.numel() else 0.0)
    assert error <= tolerance * size, f"{what}: off by {error:.3g}"


# ---- posterior ----------------------------------------------------------------------------------


@_law("posterior")
def returns_draws_of_the_right_shape(part: Part) -> None:
    """q has batch (B,), event (L,); z is (*, B, L), log q is (*, B), for batches of 0 to 3."""
    for latent in (1, 5):
        module = _posterior(part, latent)
        for batch in (0, 1, 3):
            q = module(_features(batch))
            assert q.batch_shape == (batch,), f"batch shape {tuple(q.batch_shape)}"
            assert q.event_shape == (latent,), f"event shape {tuple(q.event_shape)}"
            for shape in ((), (1,), (4,)):
                sample = draw(q, shape)
                assert sample.z.shape == (*shape, batch, latent), f"z is {tuple(sample.z.shape)}"
                seen = tuple(sample.log_prob.shape)
                assert seen == (*shape, batch), f"log q is {seen}, not {(*shape, batch)}"


@_law("posterior")
def log_q_matches_the_jacobian(part: Part) -> None:
    """log q(z) = log N(ε) − log|det ∂z/∂ε| by autograd, in float64, far from the start."""
    for latent in (1, 2, 5, 16):
        compared = 0
        for seed, scale in enumerate((0.5, 1.0, 1.0, 2.0, 2.0)):
            module = _posterior(part, latent, scale=scale, seed=seed)
            h, eps = _features(1, seed=seed), _noise(1, latent, seed=seed + 10)
            jacobian = torch.autograd.functional.jacobian(
                lambda e, h=h, module=module: _given(module(h), e).z, eps
            ).reshape(latent, latent)
            if torch.linalg.cond(jacobian) > 1e6:
                continue  # here the reference itself loses the digits that are compared
            compared += 1
            log_det = torch.linalg.slogdet(jacobian).logabsdet
            log_eps = -0.5 * (eps**2).sum() - 0.5 * latent * math.log(2 * math.pi)
            seen = _given(module(h), eps).log_prob
            _close(seen, (log_eps - log_det).reshape(1), f"log q at latent size {latent}")
        assert compared, f"every Jacobian is close to singular at latent size {latent}"


@_law("posterior")
def covers_the_plane_once(part: Part) -> None:
    """∫ r(z(ε)) |det ∂z/∂ε| dε = 1 for a density r: the map from noise to z is a bijection."""
    axis = torch.linspace(-8, 8, 241, dtype=torch.float64)
    eps = torch.cartesian_prod(axis, axis)[:, None, :]
    log_eps = -0.5 * (eps**2).sum(-1) - math.log(2 * math.pi)
    area = (axis[1] - axis[0]) ** 2
    for seed in range(4):
        module = _posterior(part, 2, scale=1.0, seed=seed)
        with torch.no_grad():
            q = module(_features(1, seed=seed))
            near = _given(q, _noise(4000, 1, 2)).z.flatten(0, 1)
            r = DiagonalNormal(near.mean(0), (0.25 * near.var(0)).log())
            sample = _given(q, eps)
            total = (r.log_prob(sample.z) + log_eps - sample.log_prob).exp().sum() * area
        # A fold or a gap moves the integral by tenths, the grid and its edge by hundredths.
        assert abs(total - 1) < 0.05, f"the integral is {total:.3f}, not 1"


@_law("posterior")
def treats_images_independently(part: Part) -> None:
    """Permuting or splitting the batch permutes or splits the draws and their densities."""
    module = _posterior(part, 5)
    h, eps = _features(4), _noise(3, 4, 5)
    whole = _given(module(h), eps)
    order = torch.tensor([2, 0, 3, 1])
    permuted = _given(module(h[order]), eps[:, order])
    _close(permuted.z, whole.z[:, order], "z of a permuted batch")
    _close(permuted.log_prob, whole.log_prob[:, order], "log q of a permuted batch")
    alone = _given(module(h[:1]), eps[:, :1])
    _close(alone.z, whole.z[:, :1], "z of a batch of one")
    _close(alone.log_prob, whole.log_prob[:, :1], "log q of a batch of one")


@_law("posterior")
def draws_noise_for_every_sample_and_image(part: Part) -> None:
    """Draws differ between samples and between equal images; a seed repeats them."""
    module = _posterior(part, 3)
    q = module(_features(1).expand(2, -1))
    torch.manual_seed(5)
    z = draw(q, (2,)).z
    assert not torch.allclose(z[0], z[1]), "two samples share their noise"
    assert not torch.allclose(z[:, 0], z[:, 1]), "two images share their noise"
    torch.manual_seed(5)
    assert torch.equal(z, draw(q, (2,)).z), "the same seed gives another draw"


@_law("posterior")
def passes_gradients_to_everything(part: Part) -> None:
    """Both z and log q have a gradient in the features and, between them, in every parameter."""
    module = _posterior(part, 4)
    h = _features(3).requires_grad_()
    sample = draw(module(h), (2,))
    for what, value in (("z", sample.z), ("log q", sample.log_prob)):
        (gradient,) = torch.autograd.grad(value.sum(), h, retain_graph=True, allow_unused=True)
        assert gradient is not None, f"{what} does not depend on the features"
        assert gradient.abs().sum() > 0, f"{what} has no gradient in the features"
    _all_learn(module, torch.cat([sample.z.flatten(), sample.log_prob.flatten()]))


@_law("posterior")
def stays_finite_when_saturated(part: Part) -> None:
    """In float32 with large parameters, draws and their densities are finite."""
    module = _posterior(part, 5, scale=20.0, dtype=torch.float32)
    sample = draw(module(_features(8, torch.float32)), (3,))
    assert torch.isfinite(sample.z).all(), "z is not finite"
    assert torch.isfinite(sample.log_prob).all(), "log q is not finite"


@_law("posterior")
def keeps_densities_in_float32_under_autocast(part: Part) -> None:
    """Under bfloat16 autocast, log q is float32."""
    module = _posterior(part, 4, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        sample = draw(module(_features(2, torch.float32)), (2,))
    assert sample.log_prob.dtype == torch.float32, f"log q is {sample.log_prob.dtype}"


@_law("posterior")
def survives_saving_and_loading(part: Part) -> None:
    """A new part with the saved state gives the same draws."""
    module = _posterior(part, 4)
    again = part(4, _FEATURES).double()
    again.load_state_dict(module.state_dict())
    h, eps = _features(2), _noise(3, 2, 4)
    _close(_given(again(h), eps).z, _given(module(h), eps).z, "z after loading", 1e-15)


def _all_learn(module: nn.Module, output: Tensor) -> None:
    names = [name for name, _ in module.named_parameters()]
    if not names:
        return
    gradients = torch.autograd.grad(
        output.square().sum(), list(module.parameters()), allow_unused=True
    )
    for name, gradient in zip(names, gradients, strict=True):
        assert gradient is not None, f"no gradient reaches {name}"
        assert torch.isfinite(gradient).all(), f"the gradient of {name} is not finite"


# ---- the other parts ----------------------------------------------------------------------------


@_law("encoder")
def encodes_each_image_by_itself(part: Part) -> None:
    """(B, *data_shape) becomes (B, F), row by row, with a gradient in every parameter."""
    for shape in (_DATA_SHAPE, (5,), (4, 4)):
        module = far_from_start(part(shape).double(), 0.5)
        x = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        h = module(x)
        assert h.shape == (3, module.features), f"features {tuple(h.shape)}"
        _close(module(x[1:2]), h[1:2], "features of a batch of one")
        assert module(x[:0]).shape == (0, module.features), "an empty batch fails"
        _all_learn(module, h)


@_law("decoder")
def decodes_each_sample_by_itself(part: Part) -> None:
    """(K, B, L) becomes (K, B, *output_shape), with a gradient in every parameter."""
    for shape in (_DATA_SHAPE, (5,), (2, 1, 4, 3)):
        module = far_from_start(part(4, shape).double(), 0.5)
        z = _noise(2, 3, 4)
        output = module(z)
        assert output.shape == (2, 3, *shape), f"output {tuple(output.shape)}"
        _close(module(z[1:, 2:]), output[1:, 2:], "output of a single z")
        assert module(z[:, :0]).shape == (2, 0, *shape), "an empty batch fails"
        _all_learn(module, output)


@_law("prior")
def is_a_density_over_the_latent_space(part: Part) -> None:
    """Batch (), event (L,); draws score finite, and the density integrates to 1 in the plane."""

    def infer(x: Tensor) -> Distribution:
        flat = x.flatten(1).double()
        return DiagonalNormal(flat[:, :2], -flat[:, :2].abs())

    p = far_from_start(part(2, _DATA_SHAPE).double(), 0.5)(infer)
    assert p.batch_shape == (), f"batch shape {tuple(p.batch_shape)}"
    assert p.event_shape == (2,), f"event shape {tuple(p.event_shape)}"
    z = p.sample((5, 3))
    assert z.shape == (5, 3, 2), f"a draw is {tuple(z.shape)}"
    assert torch.isfinite(p.log_prob(z)).all(), "a draw has no finite density"
    axis = torch.linspace(-15, 15, 601, dtype=torch.float64)
    with torch.no_grad():
        log_p = p.log_prob(torch.cartesian_prod(axis, axis))
    total = log_p.exp().sum() * (axis[1] - axis[0]) ** 2
    assert abs(total - 1) < 1e-3, f"the density integrates to {total:.5f}"


@_law("likelihood")
def emits_the_shape_it_promises(part: Part) -> None:
    """From (K, B, *output_shape): batch (K, B), event data_shape; mean, draws and finite scores."""
    for shape in (_DATA_SHAPE, (5,)):
        module = part(shape).double()
        output = _noise(2, 3, *module.output_shape)
        p = module(output)
        assert p.batch_shape == (2, 3), f"batch shape {tuple(p.batch_shape)}"
        assert p.event_shape == shape, f"event shape {tuple(p.event_shape)}"
        assert p.mean.shape == (2, 3, *shape), f"the mean is {tuple(p.mean.shape)}"
        x = p.sample()
        assert module.support.check(x).all(), "a draw lies outside the support"
        assert p.log_prob(x).shape == (2, 3), "a score is not (K, B)"
        for size in (1.0, 100.0):
            assert torch.isfinite(module(size * output).log_prob(x)).all(), "a score is not finite"


@_law("likelihood")
def is_normalized(part: Part) -> None:
    """p(x|z) of a single value sums or integrates to 1 over its support."""
    module = part((1,)).double()
    output = _noise(1, 1, *module.output_shape)
    if module.support is constraints.real:
        values = torch.linspace(-60, 60, 200_001, dtype=torch.float64)
        weight = (values[1] - values[0]).item()
    elif module.support is constraints.unit_interval:
        values = torch.linspace(0, 1, 200_001, dtype=torch.float64)
        weight = (values[1] - values[0]).item()
    else:
        low = int(getattr(module.support, "lower_bound", 0))
        high = int(getattr(module.support, "upper_bound", 1))
        values, weight = torch.arange(low, high + 1, dtype=torch.float64), 1.0
    with torch.no_grad():
        p = module(output).log_prob(values[:, None, None, None]).exp().flatten()
    total = p.sum().item() * weight
    assert abs(total - 1) < 1e-4, f"p(x|z) adds up to {total:.6f}"


@_law("likelihood")
def peaks_where_it_says(part: Part) -> None:
    """No score exceeds `log_peak`, where the part claims one other than 0."""
    module = part(_DATA_SHAPE)
    if module.log_peak:
        p = module(torch.zeros(1, 1, *module.output_shape))
        assert p.log_prob(p.mean).item() <= module.log_peak + 1e-4, "a score exceeds log_peak"


@_law("objective")
def gives_one_number_per_image(part: Part) -> None:
    """(B,) from the terms, differentiable, for a positive K and a weight that warm-up ends at."""
    objective = part()
    k = objective.samples
    assert k >= 1, f"samples is {k}"
    h = _noise(3, 4).requires_grad_()
    q = DiagonalNormal(h[:, :2], h[:, 2:])
    prior = DiagonalNormal(torch.zeros(2).double(), torch.zeros(2).double())
    sample = draw(q, (k,))
    terms = Terms(
        log_px=-sample.z.square().sum(-1),
        log_pz=prior.log_prob(sample.z),
        log_base=sample.log_base,
        log_det=sample.log_det,
        z=sample.z,
        posterior=q,
        prior=prior,
    )
    value = objective(terms, torch.tensor(1.0))
    assert value.shape == (3,), f"the objective is {tuple(value.shape)}, not one per image"
    value.sum().backward()
    assert h.grad is not None, "the objective has no gradient"
    assert torch.isfinite(h.grad).all(), "its gradient is not finite"
    assert objective.weight(objective.warmup) == objective.weight(objective.warmup + 10)


@_law("dataset")
def loads_the_same_three_splits(part: Part) -> None:
    """Three float32 splits of one shape, none empty, all finite, the same at each load."""
    splits = part(None).load()
    assert isinstance(splits, Splits), f"load() returned {type(splits).__name__}, not Splits"
    for name, x in splits:
        assert x.dtype == torch.float32, f"{name} is {x.dtype}"
        assert len(x) > 0, f"{name} is empty"
        assert tuple(x.shape[1:]) == splits.data_shape, f"{name} has another shape"
        assert torch.isfinite(x).all(), f"{name} is not finite"
    assert part(None).load().fingerprint() == splits.fingerprint(), "two loads differ"


assert all(inspect.getdoc(law) for laws in _CHECKS.values() for law in laws)
