"""Who brings which part: hooks, discovery, loading, and the registry of names."""
