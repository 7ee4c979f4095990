"""Built-in posteriors, one file per family."""
