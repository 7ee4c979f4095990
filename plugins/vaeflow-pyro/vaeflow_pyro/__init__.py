"""Pyro's distributions as likelihoods for vaeflow, and its conditional transforms as posteriors."""
