"""What all sections of the configuration are."""

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Section(BaseModel):
    """Keys that belong together."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )

    def gives(self, name: str) -> bool:
        """Whether the stack itself gives the field *name* a value."""
        return name in self.model_fields_set

    @classmethod
    def keys(cls) -> list[str]:
        """All keys, as they are written."""
        return [*map(to_camel, cls.model_fields)]


def section_of(annotation: Any) -> type[Section] | None:
    """The section that a key of the type *annotation* holds, itself or as a map's values."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next(filter(None, map(section_of, get_args(annotation))), None)
