"""WorkChains: labelling, training and simulation with restarts, and active learning."""
