"""A one-node Kubernetes on this machine, and all that the program needs to run on it."""


class LabError(Exception):
    """What a user can mend: one line that says what is wrong and what to do."""
