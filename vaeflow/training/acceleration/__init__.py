"""Faster steps with the same numbers: CUDA graphs, compilation, fused Adam."""
