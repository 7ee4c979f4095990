"""The protocol of Sylvester flows (van den Berg et al. 2018), and how vaeflow's parts differ.

Read in the authors' code, github.com/riannevdberg/sylvester-flows, commit 32dde9b. The figures are
those of table 3 of FFJORD (Grathwohl et al. 2019), which reprints theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

RUNS = 3
RECIPE: dict[str, Any] = {
    "latent": 64,
    "batch_size": 100,
    "optimizer": "adamax",
    "lr": 5e-4,
    "eps": 1e-7,
    "epochs": 2000,
    "early_stopping": 100,
    "objective.warmup": 100,
}
PARTS = "--encoder gated-conv --decoder gated-conv"


class Data(NamedTuple):
    """A data set of the paper, or one near to it."""

    words: str  # of the command line
    note: str  # how the data and the likelihood differ
    published: Mapping[str, str] = {}  # −ELBO ± standard deviation of three runs
    samples: int = 5000  # K of the paper's NLL
    bits: bool = False  # bits per dimension in place of nats
    splits: tuple[int, ...] = ()  # seeds of the split where each run has its own


POSTERIORS = {
    "VAE": "--posterior identity",
    "planar": "--posterior planar --posterior.steps 16",
    "IAF": "--posterior iaf --posterior.steps 16 --posterior.width 1280 --posterior.depth 2",
    "O-SNF": "--posterior sylvester --posterior.kind orthogonal --posterior.steps 16 "
    "--posterior.vectors 32",
    "H-SNF": "--posterior sylvester --posterior.kind householder --posterior.steps 16 "
    "--posterior.reflections 8",
    "T-SNF": "--posterior sylvester --posterior.kind triangular --posterior.steps 16",
}
SYLVESTER, FFJORD = "a Sylvester flow", "FFJORD"

DATASETS = {
    "binarized-mnist": Data(
        "--dataset binarized-mnist",
        "The same files and splits.",
        {
            "VAE": "86.55 ± 0.06",
            "planar": "86.06 ± 0.31",
            "IAF": "84.20 ± 0.17",
            SYLVESTER: "83.32 ± 0.06",
            FFJORD: "82.82 ± 0.01",
        },
    ),
    "omniglot": Data(
        "--dataset omniglot --binarization dynamic",
        "One split into training and validation images for all runs; there each run's seed makes "
        "its own. Validation and test images are binarized once in both, by other random numbers.",
        {
            "VAE": "104.28 ± 0.39",
            "planar": "102.65 ± 0.42",
            "IAF": "102.41 ± 0.04",
            SYLVESTER: "99.00 ± 0.04",
            FFJORD: "98.33 ± 0.09",
        },
    ),
    "caltech101-silhouettes": Data(
        "--dataset caltech101-silhouettes",
        "The same file and splits.",
        {
            "VAE": "110.80 ± 0.46",
            "planar": "109.66 ± 0.42",
            "IAF": "111.58 ± 0.38",
            SYLVESTER: "104.62 ± 0.29",
            FFJORD: "104.03 ± 0.43",
        },
        samples=2000,
    ),
    "freyfaces": Data(
        "--dataset freyfaces --likelihood categorical",
        "Three splits by the same seeds, of a copy of the frames that is taken to have their "
        "order; the runs differ in nothing else. The decoder ends in one layer of 1×1 to 256 "
        "logits; there in one of 5×5 to 256 channels and one of 1×1. A variance is not bounded; "
        "there it lies between 0.01 and 7. Levels are rounded to whole numbers; there cut off.",
        {
            "VAE": "4.53 ± 0.02",
            "planar": "4.40 ± 0.06",
            "IAF": "4.47 ± 0.05",
            SYLVESTER: "4.45 ± 0.04",
            FFJORD: "4.39 ± 0.01",
        },
        bits=True,
        splits=(123, 321, 231),
    ),
    "mnist": Data(
        "--dataset mnist --dataset.validation 10000 --binarization dynamic",
        "Not the paper's: its MNIST was binarized once and for all, this one is at each visit, "
        "so that no figure of its table stands here. A VAE of one layer had an NLL of 88.71 nats "
        "on the former and of 86.76 on the latter (Burda et al. 2016, tables 3 and 1).",
    ),
}

# Differences of every run of this script, beyond the settings of a run.
DIFFERENCES = (
    "−ELBO is the mean of K draws for each image; there of one, with the same expectation.",
    "Sizes of flows are those of the options above. Which are behind the paper's tables has not "
    "been checked; its code's defaults are 4 maps, a width of 320, 8 vectors, 8 reflections.",
    "β rises with each step of the warm-up, from 0 to 1; there with each epoch, from 0.01 to 1.",
    "Weights from within the warm-up are never the best; there they can be. In both, patience "
    "begins when the warm-up ends; it ends after 100 epochs without a better one, there after 101.",
    "The validation ELBO is a mean over images; there over batches, the last one smaller.",
    "The variance of the Gaussian is the exp of a linear layer; there the softplus of one.",
    "Transposed convolutions of stride 1 are convolutions, the same functions. Weights begin as "
    "today's torch draws them; there as torch 0.3 did.",
    "The Bernoulli takes logits; there probabilities, the same but for rounding.",
    "Seeds count from 0; there they were drawn.",
    "planar: begins at the identity, its parameters a linear layer of the features over √256; "
    "there linear layers of the features as torch draws them.",
    "IAF: each map has a context layer of its own, before the first nonlinearity; there all share "
    "one, after it. The gate is sigmoid(s + 2), there sigmoid(s + 1). The order is reversed at "
    "each map but the first; there at every second, so that maps 2 and 3, 4 and 5 … have the same. "
    "Some hidden units see the features alone; there none, and the first dimension's map is the "
    "same for all images. Weights begin uniform, as torch's layers; there normal, as Kaiming's.",
    "O-, H-, T-SNF: the parameters are a linear layer of the features over √256; there of the "
    "features. O-SNF: columns are orthonormal by QR; there by an iteration that ends at 10⁻⁶ or "
    "after 100 turns.",
    "FFJORD, which is for context, chose its flow for each data set from a grid, and says that it "
    "trained with Adam at 10⁻³.",
)
