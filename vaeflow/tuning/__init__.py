"""The search for options, by Optuna."""
