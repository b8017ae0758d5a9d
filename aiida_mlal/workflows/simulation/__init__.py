"""WorkChains that simulate, and what each of them takes and gives."""
