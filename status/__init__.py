"""One screen that says how a stack's BuildKit is: what runs, who builds, what has failed."""


class StatusError(Exception):
    """What a user can mend: one line that says what is wrong and what to do."""
