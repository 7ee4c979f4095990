"""Data sets of Hugging Face's `datasets` for vaeflow."""
