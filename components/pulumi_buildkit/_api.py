"""Objects of the Kubernetes API, as maps in the API's own names or as Pulumi's input types."""

from collections.abc import Mapping
from functools import cache
from typing import Any, cast


def field(value: object, name: str) -> Any:
    """The field *name* of *value*, in the API's own name, or `None` where there is none."""
    if isinstance(value, Mapping):
        return cast("Mapping[str, Any]", value).get(name)
    attribute = attributes(type(value)).get(name.lower())
    return attribute and getattr(value, attribute)


@cache
def attributes(cls: type) -> dict[str, str]:
    """The attributes of one of Pulumi's input types, by the API's names in lower case."""
    return {
        name.replace("_", "").lower(): name
        for name, attribute in vars(cls).items()
        if isinstance(attribute, property) and not name.startswith("_")
    }
