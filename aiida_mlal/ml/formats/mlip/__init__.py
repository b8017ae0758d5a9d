"""Files of the MLIP codes: structures (``.cfg``) and potentials (``.mtp``, ``.almtp``)."""
