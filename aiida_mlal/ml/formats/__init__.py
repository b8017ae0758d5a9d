"""Files of structures and of potentials."""
