"""Tensors of data: their splits, their binarization, and checks of their values."""
