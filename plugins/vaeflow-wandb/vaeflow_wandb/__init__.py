"""Trainings of vaeflow on Weights & Biases."""
