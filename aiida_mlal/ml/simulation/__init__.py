"""Simulations with a potential, watched by a guard. Their options load without torch."""
