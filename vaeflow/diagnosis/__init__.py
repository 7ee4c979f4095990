"""Where log p(x) − ELBO is lost, in figures, words and pictures."""
