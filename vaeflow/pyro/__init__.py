"""Pyro: a model and its guide, programs as likelihoods, NUTS as a referee."""
