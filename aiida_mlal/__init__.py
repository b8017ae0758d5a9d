"""Active learning of interatomic potentials within AiiDA."""

__version__ = "0.1.0"
