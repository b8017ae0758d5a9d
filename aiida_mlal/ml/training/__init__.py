"""Training: losses, optimisers, and the one loop that fits every potential."""
