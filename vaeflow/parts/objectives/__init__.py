"""Built-in objectives: callables from the terms of the bound to one number per image, in nats."""
