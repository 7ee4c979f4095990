"""Trainings of vaeflow in MLflow."""
