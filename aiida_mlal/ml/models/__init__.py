"""Interatomic potentials: atomic energies of a graph, and what can be composed of them."""
