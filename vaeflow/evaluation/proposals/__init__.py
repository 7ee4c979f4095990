"""Proposals: the distributions from which log p(x) is estimated by importance sampling."""
