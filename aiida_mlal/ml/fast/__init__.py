"""Evaluators on the CPU, in numba, for simulations: one structure after another."""
