"""scikit-learn: a VAE as an estimator."""
