"""The machine-learning layer: configurations, potentials, training, selection, simulation.

Nothing here imports AiiDA, so every part runs on a compute node without a profile. Inside this
layer energies are in eV, lengths in Å, masses in amu, temperatures in K and times in fs; stresses
are in eV/Å³ and positive in tension.
"""
