"""Formats of files, and how files are fetched."""
