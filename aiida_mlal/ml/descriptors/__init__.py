"""Descriptions of atomic environments, invariant under rotation and permutation."""
