"""Every invertible map z -> (f(z), log|det ∂f/∂z|); posteriors and priors choose among them."""
