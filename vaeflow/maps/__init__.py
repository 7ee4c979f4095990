"""Invertible maps of the latent space: what moves a dimension, and which others say how."""
