"""Feature maps: a row of numbers for each structure, in which similar structures are near."""
