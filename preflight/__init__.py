"""Which security variants each kind of node of a cluster can run, found out by building there."""


class PreflightError(Exception):
    """One line that says why nothing can be tried, and what to do."""
