"""Built-in likelihoods, one file per family."""
