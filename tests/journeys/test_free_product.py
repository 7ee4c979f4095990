"""Any part with any other: a gradient step of every combination of the built-in parts.

All models share the parts. Each model takes one step of plain gradient ascent, which must be
finite and reach every part with weights.
"""

from itertools import product

import pytest
import torch

from vaeflow.config.layers import Layers
from vaeflow.data.columns import Column, Columns
from vaeflow.data.examples import Examples
from vaeflow.data.splits import Form
from vaeflow.errors import ConfigError
from vaeflow.model import VAE, seen_shape
from vaeflow.options import options_model, validate
from vaeflow.plugins.loading import load_plugins
from vaeflow.plugins.registry import BUILTIN
from vaeflow.runs.build import build_model

# Two samples, two images of zeros and ones, which every likelihood can score.
K, B, LATENT = 2, 2, 3
IMAGE, TABLE = (1, 4, 4), (5,)
# Options that keep a part small, where it has them.
SMALL = {
    "hidden": {"mlp": (8,), "conv": 8, "gated-conv": 8, "resnet": 8},
    "channels": (2, 2),
    "kernel": 3,
    "blocks": 1,
    "steps": 2,
    "width": 6,
    "depth": 1,
    "bins": 3,
    "components": 2,
    "levels": 4,
    "samples": K,
    "activation": "elu",  # so few units of ReLU may all be 0
}

PLUGINS = load_plugins(quiet=True)
NAMES = {
    kind: [p.name for p in PLUGINS.registry.parts(kind) if p.distribution == BUILTIN]
    for kind in ("encoder", "posterior", "prior", "decoder", "likelihood", "objective")
}


def make(kind, name, *sizes):
    """Build a built-in part with small options."""
    part = PLUGINS.require(kind, f"{BUILTIN}/{name}").load()
    given = {
        key: value[name] if isinstance(value, dict) else value
        for key, value in SMALL.items()
        if key in options_model(part).model_fields
    }
    return part(*sizes, **validate(part, given, kind))


def data(shape):
    x = torch.zeros(B, *shape)
    x[0, ..., 1:3] = 1.0
    return x


class Parts(dict):
    """Parts by kind, name and sizes, each built once and then shared by all models."""

    def __call__(self, kind, name, *sizes):
        key = (kind, name, *sizes)
        if key not in self:
            torch.manual_seed(0)
            self[key] = make(*key)
        return self[key]


@pytest.fixture(scope="module")
def parts():
    return Parts()


def models(parts, shape, encoder, decoder):
    """Yield every model between an encoder and a decoder, with its name."""
    kinds = ("posterior", "prior", "likelihood")
    for posterior, prior, likelihood in product(*(NAMES[kind] for kind in kinds)):
        scored = parts("likelihood", likelihood, shape)
        encodes = parts("encoder", encoder, shape)
        yield (
            (posterior, prior, likelihood),
            VAE(
                encodes,
                parts("posterior", posterior, LATENT, encodes.features),
                parts("prior", prior, LATENT, shape),
                parts("decoder", decoder, LATENT, scored.output_shape),
                scored,
            ),
        )


def ascend(model, values):
    """Take a step along the gradient; return the parts whose gradient is zero."""
    model.zero_grad()
    sum(v.mean() for v in values).backward()
    unmoved = []
    for kind, part in model.named_children():
        weights = [p for p in part.parameters() if p.grad is not None]
        slope = torch.cat([p.grad.flatten() for p in weights]) if weights else torch.zeros(1)
        assert torch.isfinite(slope).all(), f"{kind} has a gradient of {slope}"
        if list(part.parameters()) and not slope.any():
            unmoved.append(kind)
        with torch.no_grad():
            for p in weights:
                p.add_(p.grad, alpha=1e-6)
    return unmoved


@pytest.mark.parametrize("objective", NAMES["objective"])
def test_every_combination_takes_a_step_on_tables(parts, objective):
    objective = parts("objective", objective)
    for names, model in models(parts, TABLE, "mlp", "mlp"):
        value = objective(model(data(TABLE), objective.samples), torch.ones(()))
        assert value.shape == (B,), names
        unmoved = ascend(model, [value])
        assert not unmoved, f"{names}: {unmoved} learn nothing"


@pytest.mark.parametrize("decoder", NAMES["decoder"])
@pytest.mark.parametrize("encoder", NAMES["encoder"])
def test_every_combination_takes_a_step_on_images(parts, encoder, decoder):
    """All objectives share one step, since each passes through the same parts."""
    # DReG changes the gradient in z, so it comes last.
    objectives = [
        parts("objective", name) for name in sorted(NAMES["objective"], key="dreg".__eq__)
    ]
    for names, model in models(parts, IMAGE, encoder, decoder):
        terms = model(data(IMAGE), K)
        values = [objective(terms, torch.ones(())) for objective in objectives]
        unmoved = ascend(model, values)
        assert not unmoved, f"{names}: {unmoved} learn nothing"


COVARIATES = Columns((Column("site", "category", levels=("n", "s")), Column("age", "number")))
CHOSEN = {
    "encoder": "mlp", "posterior": "planar", "prior": "normal", "decoder": "mlp",
    "likelihood": "gaussian", "objective": "iwae",
}  # fmt: skip


@pytest.mark.parametrize("kind", CHOSEN)
def test_every_part_works_beside_gaps_and_covariates(parts, kind):
    """A part that another kind's choice leaves alone is one that knows of neither."""
    seen, more = seen_shape(IMAGE, missing=True), 3
    x = data(IMAGE)
    x[:, :, 1, ::2] = torch.nan
    beside = Examples(x, torch.tensor([[0.0, 0.5], [1.0, -0.5]]))
    for name in NAMES[kind]:
        names = {**CHOSEN, kind: name}
        scored = parts("likelihood", names["likelihood"], IMAGE)
        encodes = parts("encoder", names["encoder"], seen)
        model = VAE(
            encodes,
            parts("posterior", names["posterior"], LATENT, encodes.features + more),
            parts("prior", names["prior"], LATENT, seen),
            parts("decoder", names["decoder"], LATENT + more, scored.output_shape),
            scored,
            missing=True,
            covariates=COVARIATES,
        )
        objective = parts("objective", names["objective"])
        unmoved = ascend(model, [objective(model(beside, objective.samples), torch.ones(()))])
        assert not unmoved, f"{names}: {unmoved} learn nothing"


@pytest.mark.parametrize("name", [n for n in NAMES["encoder"] if n != "mlp"])
@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_convolutions_refuse_the_columns_of_a_table_and_name_the_cure(kind, name, one_sentence):
    layers = Layers()
    layers.add({kind: name, "likelihood": "columns"}, "test")
    form = Form(TABLE, Columns(tuple(Column(f"c{i}", "number") for i in range(5))))
    with pytest.raises(ConfigError, match=rf"no neighbours: take --{kind} mlp") as caught:
        build_model(layers.resolve(PLUGINS), form)
    one_sentence(str(caught.value))
