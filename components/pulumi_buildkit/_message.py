"""Messages of Envoy's API within others, as values that are ready for JSON."""

from typing import Any


def typed(message: str) -> dict[str, str]:
    """What says that a value is such a *message*."""
    return {"@type": f"type.googleapis.com/{message}"}


def extension(name: str, message: str, **fields: Any) -> dict[str, Any]:
    """An extension of Envoy's with its configuration."""
    return {"name": name, "typed_config": {**typed(message), **fields}}
