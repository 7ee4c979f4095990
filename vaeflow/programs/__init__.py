"""Parts of a trained model as programs that run without vaeflow."""
