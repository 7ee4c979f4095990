"""Invertible maps of the latent space. A map takes z and returns (f(z), log|det ∂f/∂z|)."""
