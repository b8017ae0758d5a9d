"""Labels: energies, forces and stresses of structures, and whether to trust them. No torch."""
