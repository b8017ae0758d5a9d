"""One part of each kind of a campaign."""
