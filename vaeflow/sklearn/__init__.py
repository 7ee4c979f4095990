"""A VAE as an estimator of scikit-learn."""

from vaeflow.sklearn.estimator import VAE

__all__ = ["VAE"]
