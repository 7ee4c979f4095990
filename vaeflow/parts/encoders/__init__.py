"""Built-in encoders, one file per family."""
