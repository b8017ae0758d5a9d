"""Labelling: WorkChains that all take and give data sets, so that any can serve a campaign."""
