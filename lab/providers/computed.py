"""Resources that are computed from their inputs, with no API behind them: tls and random."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from lab.providers.server import Change, CheckFailed, Diff, Operation, Provider
from lab.providers.values import UNKNOWN, Properties, Secret, has_unknown, plain


def _nothing(values: Properties) -> Iterable[Any]:
    return ()


@dataclass(frozen=True)
class Computed:
    """A kind of resource. A change of any input replaces it, but of those in `in_place`."""

    compute: Callable[[Properties], tuple[str, Properties]]
    outputs: tuple[str, ...]
    defaults: Mapping[str, Any]
    secrets: frozenset[str]
    in_place: frozenset[str] = frozenset()
    failures: Callable[[Properties], Iterable[tuple[str, str]]] = _nothing
    due: Callable[[Properties], Iterable[str]] = _nothing
    """Which outputs of a state say that it must be replaced now."""

    def state(self, inputs: Properties, outputs: Properties) -> Properties:
        """What the stack keeps: everything, with the secrets marked."""
        values = {**self.defaults, **plain(inputs), **outputs}
        return {
            key: Secret(value) if key in self.secrets else value for key, value in values.items()
        }


class ComputedProvider(Provider):
    """Serves a table of computed kinds."""

    kinds: ClassVar[Mapping[str, Computed]]

    def _kind(self, op: Operation) -> Computed:
        try:
            return self.kinds[op.type]
        except KeyError:
            known = ", ".join(self.kinds)
            reason = f"the lab's own {self.package} provider has no {op.type}, only {known}"
            raise CheckFailed([("", reason)]) from None

    def check(self, op: Operation, olds: Properties, news: Properties) -> Properties:
        """Refuse what the kind's rule refuses, and keep its secret inputs secret."""
        kind = self._kind(op)
        if failures := list(kind.failures({**kind.defaults, **plain(news)})):
            raise CheckFailed(failures)
        hidden = {key: Secret(plain(news[key])) for key in kind.secrets & news.keys()}
        return {**news, **{key: value for key, value in hidden.items() if not has_unknown(value)}}

    def diff(
        self,
        op: Operation,
        olds: Properties,
        state: Properties,
        news: Properties,
        ignore: list[str],
    ) -> Diff:
        """Compare the inputs, and ask whether the resource is due for a new one."""
        kind = self._kind(op)
        old, new = ({**kind.defaults, **plain(side)} for side in (olds or state, news))
        keys = new.keys() | (old.keys() if olds else set())
        changed = sorted(key for key in keys if old.get(key) != new.get(key) and key not in ignore)
        due = [] if has_unknown(new) else list(kind.due({**plain(state), **new}))
        replaces = [key for key in changed if key not in kind.in_place] + due
        return Diff(dict.fromkeys([*changed, *due], Change.UPDATE), replaces)

    def create(self, op: Operation, inputs: Properties) -> tuple[str, Properties]:
        """Compute the outputs; a preview only tells which there will be."""
        kind = self._kind(op)
        if op.preview:
            return "", {**kind.defaults, **inputs, **dict.fromkeys(kind.outputs, UNKNOWN)}
        id_, outputs = kind.compute({**kind.defaults, **plain(inputs)})
        return id_, kind.state(inputs, outputs)

    def read(
        self, op: Operation, id_: str, state: Properties, inputs: Properties
    ) -> tuple[Properties, Properties] | None:
        """The state is the resource; only what follows the clock is looked at again."""
        if not state:
            return None  # an import: there is nowhere to read it from
        return {**state, **dict.fromkeys(self._kind(op).due(plain(state)), True)}, inputs

    def update(
        self, op: Operation, state: Properties, news: Properties, ignore: list[str]
    ) -> Properties:
        """Take over the inputs that change nothing computed."""
        return {**state, **self._kind(op).defaults, **news}
