"""The program's objects as plain manifests, for those who apply them without Pulumi's engine."""


class RenderError(Exception):
    """One line that says what can't be rendered, and what to do."""
