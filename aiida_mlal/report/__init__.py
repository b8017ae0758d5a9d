"""Numbers, figures and a page about a campaign that is finished, running or failed."""
