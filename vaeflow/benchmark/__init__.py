"""Many runs to make: the grid, and the engines that spread it."""
