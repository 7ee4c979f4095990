"""Where log p(x) − ELBO is lost: measurements, findings and pictures."""
