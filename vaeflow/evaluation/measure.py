"""The measurement of bounds on log p(x): by draws of q, and by draws of a proposal.

Shapes: K importance samples, B batch, N images. All estimates are in nats per image.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from vaeflow.config.way import ProposalKind
from vaeflow.data.examples import Data, as_examples
from vaeflow.distributions.draw import draw
from vaeflow.evaluation.bounds import Bounds, ImageBounds
from vaeflow.evaluation.estimates import PerImage
from vaeflow.evaluation.importance import ImportanceWeights, Moments
from vaeflow.evaluation.proposals.choice import choose
from vaeflow.evaluation.proposals.joint import Joint
from vaeflow.evaluation.proposals.marginal import Precision, marginal
from vaeflow.model import VAE
from vaeflow.runtime.frozen import frozen
from vaeflow.runtime.noise import Noise
from vaeflow.runtime.progress import Advance, unseen
from vaeflow.runtime.ranks import ALONE, World

BATCH = 100  # images
_SHARE_OF_Q = 0.3  # of an evaluation's time, about
_RECONSTRUCTIONS = 10  # draws; squared errors differ more between images than between draws


def evaluate(
    model: VAE,
    x: Data,
    *,
    samples: int = 100,
    proposal: ProposalKind = "laplace",
    precision: Precision | None = None,
    batch: int = BATCH,
    chunk: int | None = None,
    seed: int = 0,
    dequantized: int | None = None,
    progress: Advance = unseen,
) -> Bounds:
    """Estimate the bounds on the images x (N, *data_shape), as `evaluate_images` does.

    Where a part cannot be differentiated, q is the proposal, and a finding says so.

    Arguments:
        dequantized: levels of the data before they were spread over [0, 1], if they were.

    The other arguments are those of `evaluate_images`.

    Raises:
        ConfigError: if the mixture with q is asked for, and q scores its own draws alone.
    """
    choice, precision = choose(model, x, proposal), precision or Precision()
    parts = evaluate_images(
        model,
        x,
        samples=samples,
        proposal=choice.kind,
        precision=precision,
        batch=batch,
        chunk=chunk,
        seed=seed,
        progress=progress,
    )
    return Bounds.of(
        ImageBounds.cat(list(parts)),
        model,
        samples=samples,
        choice=choice,
        tolerance=precision.tolerance,
        dequantized=dequantized,
    )


def evaluate_images(
    model: VAE,
    x: Data,
    *,
    samples: int,
    proposal: ProposalKind = "laplace",
    precision: Precision | None = None,
    batch: int = BATCH,
    chunk: int | None = None,
    seed: int = 0,
    start: int = 0,
    world: World = ALONE,
    progress: Advance = unseen,
) -> Iterator[ImageBounds]:
    r"""Yield the bounds on the images x (N, *data_shape), batch by batch.

    .. math:: \log p(x) ≥ E\,\log \frac1K \sum_k \frac{p(x|z_k)\,p(z_k)}{q(z_k|x)} ≥ \mathrm{ELBO}

    (Burda et al. 2016, eq. 8.) These are the bounds under q. The NLL is the first of them with
    another proposal in the place of q, see `marginal`. The encoder and the networks that give a
    flow its parameters run once per image for K draws; the memory does not grow with K. The noise
    of a batch is a function of the seed and of the batch's number, so that an evaluation can go on
    where another stopped.

    Arguments:
        model: evaluated on the device where it is, in evaluation mode.
        x: values that the likelihood can score, binarized before if it is binary.
        samples: K of the bounds under q.
        proposal: of the NLL: "laplace", "mixture" or "q".
        precision: the draws that other proposals than q get.
        batch: images at a time; their noise depends on it.
        chunk: rows, draws times images, that pass through the decoder at a time, but one draw of
            each image of a batch at least. It changes nothing but rounding. Draws come in blocks
            of 1,000 rows on a CPU, as larger tensors leave its caches, and of 100,000 elsewhere;
            a chunk is a block at most, and by default.
        seed: of the draws.
        start: images that are left out at the beginning, whole batches.
        world: each rank takes every so many-th batch, from that of its own number on.
        progress: called as the work is done, with its share in images.
    """
    assert start % batch == 0 or start == len(x), "an evaluation goes on between batches"
    precision = precision or Precision()
    share = 1.0 if proposal == "q" else _SHARE_OF_Q
    data = as_examples(x)
    for index, first in enumerate(range(0, len(data), batch)):
        if first < start or index % world.count != world.rank:
            continue
        noise = Noise(seed, model.device, (index,))
        block = 1_000 if model.device.type == "cpu" else 100_000
        rows = block if chunk is None else min(chunk, block)
        images = data[first : first + batch].read().to(model.device)
        with frozen(model), torch.no_grad():  # a part may differentiate inside its forward
            with noise.private("evaluation"):
                found = _under_q(model, images, samples, block, rows, lambda n: progress(share * n))
            if proposal != "q":
                with noise.private("proposal"):
                    joint = Joint(model, images, block, rows)
                    nll = marginal(joint, proposal, precision, lambda n: progress((1 - share) * n))
                found = replace(found, **vars(nll))
        yield found if images.weight is None else found.weighted(images.weight)


def _under_q(
    model: VAE, x: Data, samples: int, block: int, rows: int, progress: Advance
) -> ImageBounds:
    device, b = model.device, len(x)
    block, rows = max(1, block // b), max(1, rows // b)  # draws of each image
    home = torch.device("cpu") if device.type == "mps" else device  # MPS has no float64
    q, prior = model.infer(x), model.latent_prior()
    moments, weights, squared_error = Moments(), ImportanceWeights(samples), None
    for done in range(0, samples, block):
        sample = draw(q, (min(block, samples - done),))
        log_px = torch.cat([model.log_px(z, x) for z in sample.z.split(rows)])
        pieces = torch.stack((log_px, prior.log_prob(sample.z), sample.log_prob), 1)
        rounding = torch.finfo(pieces.dtype).eps
        pieces = pieces.to(home).double()
        log_px, log_pz, log_qz = pieces.unbind(1)
        kl = log_qz - log_pz
        moments.add(torch.stack((log_px - kl, log_px, kl), 1))
        weights.add(log_px - kl, rounding * pieces.abs().sum(1))
        if not done:
            squared_error = _squared_error(model, x, sample.z[:_RECONSTRUCTIONS], rows)
        progress(len(sample.z) / samples * b)
    bounds = [PerImage(*two) for two in zip(moments.mean.cpu(), moments.error.cpu(), strict=True)]
    pareto_k, nll = weights.pareto_k, -weights.log_mean
    return ImageBounds(
        elbo=bounds[0],
        log_px=bounds[1],
        kl=bounds[2],
        nll=nll,
        under_q=nll,
        squared_error=squared_error,
        draws=torch.full_like(pareto_k, samples, dtype=torch.int64),
        effective_sample_size=weights.effective_sample_size.cpu(),
        pareto_k=pareto_k,
    )


def _squared_error(model: VAE, x: Data, z: Tensor, rows: int) -> PerImage | None:
    """Return ‖x − E[x|z]‖² at draws z (K, B, L), or None where p(x|z) has no mean.

    Of gaps, it is the sum over what was observed.
    """
    try:
        means = [model.generate(part, x).mean for part in z.split(rows)]
    except NotImplementedError:  # raised by torch's Distribution itself
        return None
    values = as_examples(x).values
    squares = [(mean - values).square().flatten(2) for mean in means]
    errors = torch.cat([each.nansum(-1) if model.missing else each.sum(-1) for each in squares])
    return PerImage.mean(errors) if bool(errors.isfinite().all()) else None
