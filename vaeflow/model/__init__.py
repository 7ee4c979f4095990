"""The VAE, composed of five parts."""

from vaeflow.model.sizes import seen_shape
from vaeflow.model.vae import VAE

__all__ = ["VAE", "seen_shape"]
