"""The version, which stands here alone: the build reads it off this file."""

__version__ = "0.1.0"
