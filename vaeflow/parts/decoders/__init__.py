"""Built-in decoders, one file per family."""
