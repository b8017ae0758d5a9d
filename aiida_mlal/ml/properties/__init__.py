"""Properties of crystals and molecules by a potential, or by any calculator of ASE."""
