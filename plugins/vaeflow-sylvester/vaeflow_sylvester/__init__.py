"""Sylvester-flow posteriors for vaeflow."""
