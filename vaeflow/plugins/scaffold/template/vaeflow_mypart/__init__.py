"""The mykind `mypart` for vaeflow."""
