"""zuko's conditional flows as posteriors and priors for vaeflow."""
