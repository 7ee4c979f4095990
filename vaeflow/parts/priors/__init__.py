"""Built-in priors, one file per family."""
