"""Built-in datasets, one file per family."""
