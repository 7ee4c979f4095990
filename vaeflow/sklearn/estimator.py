"""The estimator: a VAE whose parts are chosen by name, fitted and used as scikit-learn does.

Shapes: N rows, F features, L latent size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    DensityMixin,
    TransformerMixin,
)
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from vaeflow.data.columns import ColumnKind
from vaeflow.data.examples import Examples
from vaeflow.data.places import in_array
from vaeflow.errors import DataError
from vaeflow.evaluation.arrays import held_out_split
from vaeflow.evaluation.measure import evaluate_images
from vaeflow.evaluation.proposals.choice import choose
from vaeflow.model.frames import is_frame
from vaeflow.parts.datasets.files.arrow import check_names
from vaeflow.runs.by_name import build
from vaeflow.runtime.noise import Noise
from vaeflow.sklearn import features
from vaeflow.sklearn.parameters import (
    PARTS,
    PartsByName,
    seed_of,
    settings_of,
    split,
    takes_any_unit,
    weights_of,
)
from vaeflow.sklearn.state import KeptAsRun
from vaeflow.training.fit import fit


class VAE(
    PartsByName,
    KeptAsRun,
    ClassNamePrefixFeaturesOutMixin,  # type: ignore[misc]
    TransformerMixin,  # type: ignore[misc]
    DensityMixin,  # type: ignore[misc]
    BaseEstimator,  # type: ignore[misc]
):
    """A variational autoencoder whose posterior is chosen by name, as an estimator.

    Each part is a name, or a name with its options: posterior=("planar", {"steps": 8}), which a
    search sets as posterior__steps. Numbers are standardized within the model, so that X need not
    be scaled. X is an array of numbers, or a data frame whose columns are numbers, counts, true or
    false, and categories. A missing value is NaN.

    Arguments:
        posterior, encoder, decoder, prior, likelihood, objective: parts, as `vaeflow list` names
            them. The likelihood "columns" gives each column the law of its kind, Gaussian for a
            number.
        latent: L, the size of the code.
        epochs: passes over the training data.
        batch_size: rows of a step.
        lr: learning rate at the start.
        validation_fraction: of the rows, held out to choose the best epoch; 0 keeps the last one.
        kinds: name -> "number", "count", "boolean" or "category" of columns of a data frame, where
            their values are to be read otherwise than they suggest.
        settings: further settings of `vaeflow.fit`, such as {"early_stopping": 20, "clip": 5}.
        random_state: a whole number makes the fit the same each time.
        device: "auto", "cpu", "cuda", …
        progress: show progress; None does on a terminal and in a notebook.

    Attributes:
        model_: the `vaeflow.VAE`, with the weights of the best epoch.
        history_: a record of each epoch, as in metrics.jsonl.
        n_features_in_, feature_names_in_: F, and the names of a data frame.
    """

    def __init__(
        self,
        posterior: Any = "identity",
        *,
        encoder: Any = "mlp",
        decoder: Any = "mlp",
        prior: Any = "normal",
        likelihood: Any = "columns",
        objective: Any = "elbo",
        latent: int = 2,
        epochs: int = 200,
        batch_size: int = 100,
        lr: float = 1e-3,
        validation_fraction: float = 0.1,
        kinds: Mapping[str, ColumnKind] | None = None,
        settings: Mapping[str, Any] | None = None,
        random_state: Any = None,
        device: str = "auto",
        progress: bool | None = False,
    ) -> None:
        self.posterior = posterior
        self.encoder = encoder
        self.decoder = decoder
        self.prior = prior
        self.likelihood = likelihood
        self.objective = objective
        self.latent = latent
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.validation_fraction = validation_fraction
        self.kinds = kinds
        self.settings = settings
        self.random_state = random_state
        self.device = device
        self.progress = progress

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> VAE:
        """Train the model on X (N, F); y is ignored.

        Arguments:
            X: an array of numbers, or a data frame.
            y: ignored.
            sample_weight: of each row (N,), at least 0.

        Raises:
            ConfigError: if a part, an option or a setting cannot be used.
            DataError: if the likelihood cannot score X.
            NonFiniteError: if the loss is NaN or infinite.
        """
        X = self._checked(X, reset=True)
        given, seed = features.as_columns(X), seed_of(self.random_state)
        weights = weights_of(sample_weight, len(X))
        rows = (
            np.arange(len(X)) if weights is None else np.flatnonzero(weights)
        )  # of weight 0: none
        train, held_out = (rows[i] for i in split(len(rows), self.validation_fraction, seed))
        scale = train if takes_any_unit(self.likelihood) else None
        frame = features.Frame.of(X, given)
        kinds = frame.declared(given) if frame is not None else {}
        columns = features.describe(given, {**kinds, **(self.kinds or {})}, scale)
        x = torch.from_numpy(columns.encode(given))
        model = build(
            x.shape[1:],
            latent=self.latent,
            seed=seed,
            missing="mask" if bool(x.isnan().any()) else "refuse",
            columns=columns,
            **{kind: getattr(self, kind) for kind in PARTS},
        )
        own = {"epochs": self.epochs, "batch_size": self.batch_size, "lr": self.lr}
        settings = settings_of(self.settings, {**own, "seed": seed, "device": self.device})
        data = Examples(x, None, weights)
        self._run = None
        self._frame = frame
        self._fitted = fit(
            model,
            data[torch.from_numpy(train)],
            data[torch.from_numpy(held_out)] if len(held_out) else None,
            objective=self.objective,
            progress=self.progress,
            **settings,
        )
        self.model_ = model
        self.history_ = [dict(record) for record in self._fitted.records]
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return the codes of X: the mean of q(z|x), (N, L).

        The mean of a flow is the average of 100 draws, the same at each call.
        """
        x = self._examples(X)
        with self._noise("codes"):
            z: np.ndarray = self.model_.encode(x).cpu().double().numpy()
        return z

    def inverse_transform(self, Z: Any) -> Any:
        """Return E[x|z] of codes Z (N, L), in the units of X: (N, F).

        Of a category it is the most probable level. A model that was fitted to a data frame of
        pandas or polars returns one; of pandas, with its dtypes where they hold the values.
        """
        check_is_fitted(self)
        z = torch.tensor(check_array(Z), dtype=self.model_.dtype, device=self.model_.device)
        if z.shape[1] != self.model_.posterior.latent:
            raise ValueError(
                f"Z has {z.shape[1]} columns, but a code has {self.model_.posterior.latent}: give "
                "codes as transform returns them"
            )
        with torch.no_grad():
            x = self.model_.generate(z[None]).mean[0]
        return self._as_given(x)

    def score_samples(self, X: Any) -> np.ndarray:
        r"""Return an estimate of log p(x) of each row of X, in nats: (N,).

        .. math:: \log \frac1K \sum_k \frac{p(x|z_k)\,p(z_k)}{r(z_k|x)}

        The draws are of a Gaussian r that is fitted to the posterior of each row, and K follows the
        error, of 0.05 nats. The mean of the estimate lies below log p(x), by about half its
        variance. `vaeflow.evaluate` measures the NLL alike. The density is that of X in its own
        units; a missing value is left out of it.
        """
        x = self._examples(X)
        model, place = self.model_, in_array("X")
        data = held_out_split("X", x, model, "auto", None, place)
        choice = choose(model, data, "laplace")
        # Under q there is no error to follow; otherwise the bound under q is not looked at.
        samples = 1000 if choice.kind == "q" else 1
        bounds = evaluate_images(model, data, samples=samples, proposal=choice.kind)
        log_px = -torch.cat([each.nll.values for each in bounds]).cpu().double().numpy()
        scores: np.ndarray = log_px - features.log_units(model.columns, x.values.numpy())
        return scores

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean of `score_samples` over the rows of X; y is ignored."""
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1, random_state: Any = None) -> Any:
        """Draw rows of p(x), in the units of X: (n_samples, F).

        Arguments:
            n_samples: how many.
            random_state: a whole number makes the draws the same each time.
        """
        check_is_fitted(self)
        seed = int(check_random_state(random_state).randint(2**31 - 1))
        with Noise(seed, self.model_.device).private("samples"):
            return self._as_given(self.model_.sample(n_samples, mean=False))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    @property
    def _n_features_out(self) -> int:
        return int(self.model_.posterior.latent)

    def _checked(self, x: Any, *, reset: bool) -> Any:
        """Return X with its names and number of features checked, an array as numbers."""
        if is_frame(x) and not isinstance(x, Mapping):
            check_names(x, "X")
            return validate_data(self, x, reset=reset, skip_check_array=True)
        dtype = None if not reset and any(c.named for c in self.model_.columns) else np.float64
        return validate_data(self, x, reset=reset, dtype=dtype, ensure_all_finite="allow-nan")

    def _examples(self, x: Any) -> Examples:
        """Return X as examples of the fitted model, whose columns it takes in their order."""
        check_is_fitted(self)
        x = self._checked(x, reset=False)
        columns, model = self.model_.columns, self.model_
        given = [*features.as_columns(x).values()]
        values = torch.from_numpy(columns.encode(dict(zip(columns.names, given, strict=True))))
        if not model.missing and bool((gaps := values.isnan()).any()):
            row = int(gaps.any(1).nonzero()[0])
            raise DataError(
                f"X has a missing value in row {row}, but the model was fitted to data without "
                "any: fill it in, or fit the model to data with gaps"
            )
        return Examples(values.to(model.dtype))

    def _as_given(self, x: torch.Tensor) -> Any:
        names = getattr(self, "feature_names_in_", self.model_.columns.names)
        return features.as_given(self.model_.columns, x.cpu().numpy(), self._frame, names)

    def _noise(self, purpose: str) -> Any:
        return Noise(0, self.model_.device).private(purpose)
