"""Nodes: sets of structures, potentials and selections, whose content validates itself."""
