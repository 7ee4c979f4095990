"""Parts that break their contract, found by a first pass."""

from typing import ClassVar

import pytest
import torch
from small_vae import SHAPE, images, model, run
from torch.distributions import Distribution
from torch.distributions import Independent as TorchIndependent

from vaeflow.config.settings import Settings
from vaeflow.distributions.gaussian import DiagonalNormal
from vaeflow.errors import PluginError
from vaeflow.model import VAE
from vaeflow.parts.abstract import Posterior
from vaeflow.parts.decoders.mlp import MLP as Decoder
from vaeflow.parts.encoders.mlp import MLP as Encoder
from vaeflow.parts.likelihoods.bernoulli import Bernoulli
from vaeflow.parts.likelihoods.gaussian import Gaussian
from vaeflow.parts.objectives.elbo import ELBO
from vaeflow.parts.objectives.iwae import IWAE
from vaeflow.parts.posteriors.identity import Identity
from vaeflow.parts.priors.normal import Normal
from vaeflow.plugins.registry import KINDS
from vaeflow.training import prepare_trainer
from vaeflow.training.first_pass import few


def wrong(base, change):
    """Return a subclass of a part that returns `change` of what it should."""

    class Wrong(base):
        def forward(self, given):
            return change(super().forward(given))

    return Wrong


class Odd(Distribution):
    """Another distribution, whose scores, or draws, are changed."""

    arg_constraints: ClassVar[dict] = {}

    def __init__(self, law, change, *, draws=False):
        super().__init__(law.batch_shape, law.event_shape, validate_args=False)
        self.law, self.change, self.draws = law, change, draws

    def log_prob(self, x):
        return self.law.log_prob(x) if self.draws else self.change(self.law.log_prob(x))

    def rsample(self, sample_shape=()):
        z = self.law.rsample(sample_shape)
        return self.change(z) if self.draws else z


OWNERS = {kind: f"{kind} 'x' from vaeflow-x 0.3" for kind in KINDS}
CHANGES = {
    "None": (lambda y: None, "None"),
    "tuple": (lambda y: (y, y), "of type tuple"),
    "int64": (lambda y: y.long(), "a tensor of int64 and shape "),
    "float16": (lambda y: y.half(), "a tensor of float16 and shape "),
    "axes": (lambda y: y.movedim(0, -1)[None], "a tensor of float32 and shape "),
    "axis": (lambda y: y[..., None], "a tensor of float32 and shape "),
}
PLACES = {
    "features": ("encoder", Encoder, lambda y, f: f(y), "its features are", "(B, F) = (2, 16)"),
    "output": (
        "decoder", Decoder, lambda y, f: f(y),
        "its output is", "(K, B, *output_shape) = (1, 2, 1, 4, 4)",
    ),
    "draw": (
        "posterior", Identity, lambda q, f: Odd(q, f, draws=True),
        "a draw of its q(z|x) is", "(K, B, L) = (1, 2, 3)",
    ),
    "log q": ("posterior", Identity, Odd, "log q(z|x) is", "(K, B) = (1, 2)"),
    "log p(z)": ("prior", Normal, Odd, "log p(z) is", "(K, B) = (1, 2)"),
    "log p(x|z)": ("likelihood", Bernoulli, Odd, "log p(x|z) is", "(K, B) = (1, 2)"),
}  # fmt: skip


def refusal(objective=None, **parts):
    with pytest.raises(PluginError) as caught:
        prepare_trainer(
            small(**parts),
            images(40),
            objective=objective,
            binarization="dynamic",
            settings=Settings(device="cpu"),
            owners=OWNERS,
        )
    return str(caught.value)


def small(encoder=Encoder, posterior=Identity, prior=Normal, decoder=Decoder, likelihood=Bernoulli):
    return VAE(
        encoder(SHAPE, hidden=(16,)),
        posterior(3, 16),
        prior(3, SHAPE),
        decoder(3, SHAPE, hidden=(16,)),
        likelihood(SHAPE),
    )


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("place", PLACES)
def test_a_wrong_value_names_its_part_what_it_is_and_what_is_expected(place, change, one_sentence):
    kind, base, put, what, wanted = PLACES[place]
    f, seen = CHANGES[change]
    error = refusal(**{kind: wrong(base, lambda value: put(value, f))})
    one_sentence(error)
    assert error.startswith(f"{OWNERS[kind]}: {what} {seen}")
    assert error.endswith(f", but a tensor of float32 and shape {wanted} is expected: correct it")


@pytest.mark.parametrize("change", [c for c in CHANGES if c != "axes"])
def test_a_wrong_value_of_an_objective_names_it(change):
    class Wrong(ELBO):
        def __call__(self, terms, beta):
            return CHANGES[change][0](super().__call__(terms, beta))

    error = refusal(Wrong())
    assert error.startswith(f"{OWNERS['objective']}: its value is {CHANGES[change][1]}")
    assert "a tensor of float32 and shape (B,) = (2,) is expected" in error


@pytest.mark.parametrize("value", [None, "1", -1.0, float("nan")])
def test_a_wrong_weight_of_an_objective_names_it(value):
    class Wrong(ELBO):
        def weight(self, time):
            return value

    assert refusal(Wrong()).startswith(f"{OWNERS['objective']}: weight(0) is {value!r}, but a num")


@pytest.mark.parametrize(
    ("kind", "change", "told"),
    [
        ("posterior", lambda q: q.loc, "q(z|x) is a tensor of float32 and shape (2, 3), but a to"),
        ("posterior", lambda q: None, "q(z|x) is None, but a torch distribution of batch (B,) = "),
        (
            "posterior",
            lambda q: DiagonalNormal(q.loc[:1], q.log_scale[:1]),
            "q(z|x) is DiagonalNormal(batch (1,), event (3,)), but a torch distribution of batch "
            "(B,) = (2,) and event (L,) = (3,) is expected: correct its forward",
        ),
        (
            "posterior",
            lambda q: DiagonalNormal(q.loc[..., :2], q.log_scale[..., :2]),
            "q(z|x) is DiagonalNormal(batch (2,), event (2,)), but",
        ),
        ("prior", lambda p: None, "p(z) is None, but a torch distribution of batch () and event"),
        ("prior", lambda p: p.expand((5,)), "p(z) is DiagonalNormal(batch (5,), event (3,)), but"),
        ("likelihood", lambda p: None, "p(x|z) is None, but a torch distribution of batch (K, B)"),
        ("likelihood", lambda p: p.base_dist, "p(x|z) is Bernoulli(batch (1, 2, 1, 4, 4), event"),
    ],
)
def test_a_wrong_distribution_names_its_part(kind, change, told, one_sentence):
    base = {"posterior": Identity, "prior": Normal, "likelihood": Bernoulli}[kind]
    error = refusal(**{kind: wrong(base, change)})
    one_sentence(error)
    assert error.startswith(f"{OWNERS[kind]}: its {told}")


def test_what_fails_in_no_parts_code_names_the_part_at_work():
    def fail(value):
        return torch.zeros(2) + torch.zeros(3)

    for kind, base in (("posterior", Identity), ("prior", Normal), ("likelihood", Bernoulli)):
        failing = wrong(base, lambda law: TorchIndependent(Odd(law, fail), 0))
        assert refusal(**{kind: failing}).startswith(f"{OWNERS[kind]} failed on a first batch (Run")


def test_swapped_axes_are_seen_where_two_sizes_are_two():
    """Of two images with L = 2 or K = 2, a transposed tensor would have the right shape."""
    iwae = IWAE(samples=2)
    assert few(small(), iwae) == 4  # L = 3
    flipped = wrong(Normal, lambda p: Odd(p, lambda score: score.mT))
    assert "shape (4, 2), but a tensor of float32 and shape (K, B) = (2, 4)" in refusal(
        iwae, prior=flipped
    )


def test_a_part_that_raises_is_named():
    def fail(q):
        raise ValueError("no such thing")

    told = r"posterior Wrong failed on a first batch \(ValueError: no such thing\)"
    with pytest.raises(PluginError, match=told):
        run(model(wrong(Identity, fail)))


class Unpathed(Posterior):
    """A mixture, which torch cannot draw from with gradients."""

    def forward(self, h):
        from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

        weights = Categorical(logits=torch.zeros(len(h), 2))
        parts = Independent(Normal(torch.zeros(len(h), 2, self.latent), 1.0), 1)
        return MixtureSameFamily(weights, parts)


def test_a_distribution_without_rsample_is_named():
    with pytest.raises(PluginError, match="posterior Unpathed: its MixtureSameFamily cannot"):
        run(model(Unpathed))


def test_the_first_pass_changes_no_running_mean():
    likelihood = Gaussian(SHAPE, scale="optimal", sigma=2.0)
    trainer = prepare_trainer(
        model(likelihood=likelihood), images(40), settings=Settings(batch_size=20)
    )
    assert likelihood.batches.item() == 0
    assert likelihood.variance.item() == 4.0
    trainer.run()
    assert likelihood.batches.item() == 2 * trainer.settings.epochs
