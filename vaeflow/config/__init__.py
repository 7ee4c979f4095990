"""From text to settings: options off signatures, layers, files and recipes."""
