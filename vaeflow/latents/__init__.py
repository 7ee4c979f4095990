"""The latent space of a trained model: walks, projections and pictures of it."""
