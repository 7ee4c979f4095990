"""Parts that break what others rely on: each is named before it has spoiled anything."""

import re

import pytest
import torch
from small_vae import SHAPE, images
from torch import nn
from torch.distributions import Independent, Normal, TransformedDistribution, constraints
from torch.distributions.transforms import Transform

from vaeflow.config.settings import Settings
from vaeflow.distributions.draw import Draw, OnePass
from vaeflow.distributions.flow import Flow
from vaeflow.distributions.gaussian import DiagonalNormal
from vaeflow.errors import PluginError
from vaeflow.model import VAE
from vaeflow.parts.abstract import Posterior
from vaeflow.parts.decoders.mlp import MLP as Decoder
from vaeflow.parts.encoders.mlp import MLP as Encoder
from vaeflow.parts.likelihoods.bernoulli import Bernoulli
from vaeflow.parts.objectives.elbo import ELBO
from vaeflow.parts.posteriors.identity import Identity
from vaeflow.parts.priors.normal import Normal as NormalPrior
from vaeflow.training import conduct, first_pass, prepare_trainer
from vaeflow.training.checkpoints import CheckpointStore

LATENT = 3
SETTINGS = Settings(epochs=3, batch_size=10, device="cpu", checkpoint_seconds=0)


def train(store=None, objective=None, latent=LATENT, **parts):
    """Train with the classes `parts` in place of the usual ones."""
    torch.manual_seed(0)
    make = {"encoder": Encoder, "posterior": Identity, "prior": NormalPrior, "decoder": Decoder}
    make |= {"likelihood": Bernoulli, **parts}
    vae = VAE(
        make["encoder"](SHAPE, hidden=(16,)),
        make["posterior"](latent, 16),
        make["prior"](latent, SHAPE),
        make["decoder"](latent, SHAPE, hidden=(16,)),
        make["likelihood"](SHAPE),
    )
    data = (images(40) > 0.5).float(), (images(20, 1) > 0.5).float()
    t = prepare_trainer(vae, *data, objective=objective, settings=SETTINGS)
    return t.run(store=store)


# How a part changes what it is given; torch's count of changes does not see the last two.
WAYS = {
    "mul_": lambda x: x.mul_(1.5),
    "an item": lambda x: x.__setitem__((..., 0), 0.25),
    "relu_": lambda x: torch.relu_(x.sub_(0.2)),
    ".data": lambda x: x.data.mul_(1.5),
    "NumPy": lambda x: x.detach().numpy().__imul__(1.5),
}
BASES = {"encoder": Encoder, "posterior": Identity, "decoder": Decoder, "likelihood": Bernoulli}
NAMES = {
    "encoder": "its input", "posterior": "the features", "decoder": "the draw z",
    "likelihood": "the decoder's output",
}  # fmt: skip


def changing(kind, way, when):
    """Return a part that changes its input in place in training, in evaluation or in both."""

    class Changing(BASES[kind]):
        def forward(self, given):
            value = super().forward(given)
            if when == "both" or self.training == (when == "training"):
                with torch.no_grad():
                    WAYS[way](given)
            return value

    return Changing


@pytest.mark.parametrize("when", ["training", "evaluation", "both"])
def test_a_part_that_changes_its_input_in_place_is_named(when, counted, one_sentence):
    for kind in BASES:
        for way in WAYS:
            with pytest.raises(PluginError) as caught:
                train(**{kind: changing(kind, way, when)})
            error = caught.value.written
            assert re.match(rf"{kind} Changing changes {NAMES[kind]} in place", error), error
            one_sentence(error)
    counted("input changed in place", len(BASES) * len(WAYS))


class Scoring(Bernoulli):
    """Clamps the data that it scores, in place, from the given call on."""

    after = 0
    training_only = evaluation_only = False

    def forward(self, output):
        law, part = super().forward(output), self

        class Law(Independent):
            def log_prob(self, x):
                part.after -= 1
                if part.after < 0 and not (part.training and part.evaluation_only):
                    x.mul_(0.9)
                return super().log_prob(x)

        return Law(law.base_dist, law.reinterpreted_batch_ndims)


def test_a_density_that_changes_the_data_is_named(counted):
    for name, given in (("likelihood", Scoring),):
        with pytest.raises(PluginError, match=f"{name} Scoring changes the data in place"):
            train(**{name: given})

    class Prior(NormalPrior):
        def forward(self, infer):
            class Law(DiagonalNormal):
                def log_prob(self, z):
                    return super().log_prob(z.mul_(0.5))

            p = super().forward(infer)
            return Law(p.loc, p.log_scale)

    with pytest.raises(PluginError, match="prior Prior changes the draw z in place"):
        train(prior=Prior)

    class Greedy(ELBO):
        def __call__(self, terms, beta):
            value = super().__call__(terms, beta)
            with torch.no_grad():
                terms.log_px.mul_(2.0)
            return value

    with pytest.raises(PluginError, match=r"objective Greedy changes log p\(x\|z\) in place"):
        train(objective=Greedy())
    counted("input changed in place", 3)


@pytest.mark.parametrize("evaluation_only", [False, True])
def test_a_part_that_begins_to_change_the_data_later_is_named_at_once(
    evaluation_only, tmp_path, counted
):
    class Later(Scoring):
        after = 9  # beyond the calls of the first pass

    Later.evaluation_only = evaluation_only
    store = CheckpointStore(tmp_path / "c")
    with pytest.raises(PluginError, match="likelihood Later changes the data in place"):
        train(store, likelihood=Later)
    kept = store.latest()
    assert kept is None or all(v.isfinite().all() for v in kept.tensors["model"].values())
    counted("input changed in place", 1)


def flow(*maps):
    """Return a posterior whose flow has these maps, each given the shift of its images."""

    class Flowing(Posterior):
        def __init__(self, latent, features):
            super().__init__(latent, features)
            self.head = nn.Linear(features, 2 * latent)

        def forward(self, h):
            loc, log_variance = self.head(h).chunk(2, -1)
            return Flow(DiagonalNormal(loc, log_variance / 2), maps)

    return Flowing


def bend(total):
    """Return z + ½ tanh z, with a total of its log-derivatives (K, B, L) that may be wrong."""

    def f(z):
        return z + 0.5 * z.tanh(), total((1 + 0.5 / z.cosh() ** 2).log())

    return f


class Bend(Transform):
    """The same as torch's transform."""

    domain = codomain = constraints.independent(constraints.real, 1)
    bijective = True

    def __init__(self, total):
        super().__init__()
        self.total = total

    def _call(self, z):
        return z + 0.5 * z.tanh()

    def log_abs_det_jacobian(self, z, y):
        return self.total((1 + 0.5 / z.cosh() ** 2).log())


class Whole(OnePass):
    """The same as a distribution that scores as it draws."""

    arg_constraints = {}  # noqa: RUF012

    def __init__(self, base, total):
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)
        self.base, self.total = base, total

    def draw(self, shape=()):
        z0 = self.base.rsample(shape)
        log_det = self.total((1 + 0.5 / z0.cosh() ** 2).log())
        return Draw(z0 + 0.5 * z0.tanh(), self.base.log_prob(z0), log_det, z0)


def law(make):
    class Lawful(Identity):
        def forward(self, h):
            return make(super().forward(h))

    return Lawful


RIGHT = lambda d: d.sum(-1)  # noqa: E731
TOTALS = {
    "over the batch": lambda d: d.sum((-1, 1)),
    "over the batch, kept": lambda d: d.sum(-1).sum(1, keepdim=True),
    "over the batch, expanded": lambda d: d.sum(-1).sum(1, keepdim=True).expand(d.shape[:-1]),
    "over the samples": lambda d: d.sum((-1, 0)),
    "over the samples, expanded": lambda d: d.sum(-1).sum(0).expand(d.shape[:-1]),
    "over everything": lambda d: d.sum(),
    "mean of the batch": lambda d: d.sum(-1).mean(1, keepdim=True).expand(d.shape[:-1]),
    "of a constant": lambda d: torch.full((), 0.7 * d.shape[1]),
    "of the first image": lambda d: d.sum(-1)[:, :1].expand(d.shape[:-1]),
}


@pytest.mark.parametrize("way", ["flow", "transform", "one pass"])
def test_a_log_determinant_that_mixes_images_is_refused(way, amount, counted, one_sentence):
    def posterior(total):
        if way == "flow":
            return flow(bend(total))
        if way == "transform":
            return law(
                lambda q: TransformedDistribution(
                    Independent(Normal(q.loc, q.log_scale.exp()), 1), [Bend(total)]
                )
            )
        return law(lambda q: Whole(q, total))

    sizes = (1, LATENT, 20)[: amount(2, 3)]
    for latent in sizes:
        train(posterior=posterior(RIGHT), latent=latent)
        for total in TOTALS.values():
            with pytest.raises(PluginError) as caught:
                train(posterior=posterior(total), latent=latent)
            one_sentence(caught.value.written)
    counted("log-determinant that mixes images", len(sizes) * len(TOTALS))


def test_a_log_determinant_of_one_number_for_all_images_is_refused_by_its_shape():
    q = Flow(
        DiagonalNormal(torch.zeros(4, 2), torch.zeros(4, 2)), [bend(TOTALS["over the batch, kept"])]
    )
    with pytest.raises(PluginError, match=r"shape \(3, 1\), but \(3, 4\) is expected"):
        q.draw((3,))


def test_a_part_that_turns_gradients_off_or_seeds_the_noise_is_named(counted, one_sentence):
    def acting(kind, act):
        class Acting(BASES[kind]):
            def forward(self, given):
                value = super().forward(given)
                act()
                return value

        return Acting

    acts = {
        "turns gradients off for all that follows": lambda: torch.set_grad_enabled(False),
        "seeds torch's global generator": lambda: torch.manual_seed(0),
    }
    for told, act in acts.items():
        for kind in BASES:
            with pytest.raises(PluginError, match=f"^{kind} Acting {told}") as caught:
                train(**{kind: acting(kind, act)})
            one_sentence(caught.value.written)
            assert torch.is_grad_enabled()
    counted("part that changes torch's modes", len(acts) * len(BASES))


def later(kind, change, calls=12):
    """Return a part that returns something wrong beyond the first pass."""

    class Later(BASES[kind]):
        count = 0

        def forward(self, given):
            Later.count += 1
            value = super().forward(given)
            return change(value) if Later.count > calls else value

    return Later


def interrupt():
    raise KeyboardInterrupt


def test_a_wrong_value_in_mid_training_names_its_part(tmp_path, counted, one_sentence):
    def scored(change):
        def of(q):
            class Law(Independent):
                def log_prob(self, z):
                    return change(super().log_prob(z))

            return Law(Normal(q.loc, q.log_scale.exp()), 1)

        return of

    wrong = {
        "None": ("encoder", lambda h: None),
        "shape": ("encoder", lambda h: h[:, :5]),
        "rows": ("encoder", lambda h: h[:1]),
        "dtype": ("encoder", lambda h: h.double()),
        "text": ("decoder", lambda h: "output"),
        "transposed": ("decoder", lambda y: y.transpose(-1, -4)),
        "no law": ("posterior", lambda q: None),
        "no density": ("posterior", lambda q: q.loc),
        "scalar log q": ("posterior", scored(lambda s: s.sum())),
        "a log q of one sample": ("posterior", scored(lambda s: s[0])),
        "a log q of one image": ("posterior", scored(lambda s: s[:, :1])),
        "raises": ("likelihood", lambda p: 1 / 0),
        "exits": ("likelihood", lambda p: exit()),
        "interrupts": ("likelihood", lambda p: interrupt()),
    }
    for name, (kind, change) in wrong.items():
        store = CheckpointStore(tmp_path / name)
        with pytest.raises(PluginError) as caught:
            train(store, **{kind: later(kind, change)})
        one_sentence(caught.value.written)
        assert f"{kind} Later" in caught.value.written, (name, caught.value.written)
        kept = store.latest()
        assert kept is not None, name
        assert all(v.isfinite().all() for v in kept.tensors["model"].values())
    counted("part that breaks in mid-training", len(wrong))


def test_without_the_checks_these_faults_are_silent(monkeypatch):
    """Mutants: the tests above see each check removed."""

    class Evaluated(Scoring):
        evaluation_only, after = True, 9

    with monkeypatch.context() as m:
        m.setattr(first_pass, "odd_row", lambda posterior, h: None)
        train(posterior=flow(bend(TOTALS["over the batch, expanded"])))
    with monkeypatch.context() as m:
        m.setattr(torch.Tensor, "_version", 0)
        train(likelihood=Evaluated)
    with monkeypatch.context() as m:
        m.setattr(first_pass, "conduct", lambda owner, given: conduct.conduct(owner, {}))
        train(decoder=changing("decoder", "mul_", "evaluation"))
