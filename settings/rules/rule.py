"""What a rule is."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from settings.mistakes import Mistake, Place
from settings.stack import Settings


class Rule(NamedTuple):
    """One thing that keys have to agree on."""

    reads: tuple[str, ...]
    """The keys that it looks at, with a dot between a section and its key."""
    mistakes: Callable[[Settings], Iterable[Mistake]]

    def can_tell(self, wrong: set[Place]) -> bool:
        """Whether none of its keys is *wrong* already: there is nothing more to say of that."""
        return not any(
            _touches(tuple(key.split(".")), place) for key in self.reads for place in wrong
        )


def _touches(key: Place, place: Place) -> bool:
    common = min(len(key), len(place))
    return key[:common] == place[:common]
