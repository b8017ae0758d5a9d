"""How far a potential may be wrong, for structures and for atoms."""
