"""One run: its directory, from configuration to model, its training and evaluation, and back."""
