"""Resources that are computed from their inputs, with no API behind them: tls and random."""

import importlib.metadata
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pulumi.provider.experimental.property_value import PropertyValue
from pulumi.provider.experimental.provider import (
    CheckFailure,
    CheckRequest,
    CheckResponse,
    ConfigureRequest,
    ConfigureResponse,
    CreateRequest,
    CreateResponse,
    DeleteRequest,
    DiffRequest,
    DiffResponse,
    GetSchemaRequest,
    GetSchemaResponse,
    PropertyDiff,
    PropertyDiffKind,
    Provider,
    ReadRequest,
    ReadResponse,
    UpdateRequest,
    UpdateResponse,
)
from pulumi.runtime.rpc import UNKNOWN

Properties = dict[str, Any]
"""Plain values: no nulls, secrets unmarked, whole numbers as int, unknown values as `UNKNOWN`."""

Failure = tuple[str, str]
"""An input and the reason why it is invalid."""

OLD_INPUTS = "__inputs"
"""The key in `DiffRequest.old_state` under which the server adds the old inputs."""

_Values = dict[str, PropertyValue]


def _nothing(values: Properties) -> Iterable[Any]:
    return ()


@dataclass(frozen=True)
class ResourceType:
    """A type of resource. A changed input replaces the resource unless it is in `in_place`."""

    compute: Callable[[Properties], tuple[str, Properties]]
    """The id and the outputs for inputs. A ValueError is shown to the user."""
    outputs: tuple[str, ...]
    defaults: Properties
    secrets: frozenset[str] = frozenset()
    in_place: frozenset[str] = frozenset()
    failures: Callable[[Properties], Iterable[Failure]] = _nothing
    due: Callable[[Properties], Iterable[str]] = _nothing
    """The outputs of a state that call for a replacement now."""

    def filled(self, values: _Values) -> Properties:
        """The plain *values*, and the defaults of the others."""
        return {**self.defaults, **plain(values)}

    def marked(self, values: _Values) -> _Values:
        """The *values* with the known secrets marked."""
        secrets = {name for name in self.secrets & values.keys() if values[name].value != UNKNOWN}
        return {**values, **{name: values[name].with_secret(True) for name in secrets}}


class ComputedProvider(Provider):
    """A provider of computed resources."""

    package: str
    types: ClassVar[Mapping[str, ResourceType]]

    @property
    def version(self) -> str:
        """The version of the SDK, which asks for a plugin of that version."""
        return importlib.metadata.version(f"pulumi-{self.package}")

    def _type(self, urn: str) -> ResourceType:
        token = urn.split("::")[2].split("$")[-1]  # what precedes are the types of its parents
        if token not in self.types:
            raise ValueError(
                f"{token} is not supported: the lab's {self.package} plugin has only "
                f"{', '.join(self.types)}"
            )
        return self.types[token]

    async def get_schema(self, request: GetSchemaRequest) -> GetSchemaResponse:
        """The name of the package; its resources are described in the SDK."""
        return GetSchemaResponse(json.dumps({"name": self.package, "version": self.version}))

    async def configure(self, request: ConfigureRequest) -> ConfigureResponse:
        """Secrets and previews. Resource references and outputs are for components."""
        return ConfigureResponse(accept_secrets=True, supports_preview=True)

    async def check(self, request: CheckRequest) -> CheckResponse:
        """The inputs with their secrets marked, or why they are invalid."""
        try:
            type_ = self._type(request.urn)
        except ValueError as error:
            return CheckResponse(request.new_inputs, [CheckFailure("", str(error))])
        if failures := list(type_.failures(type_.filled(request.new_inputs))):
            return CheckResponse(request.new_inputs, [CheckFailure(*pair) for pair in failures])
        return CheckResponse(type_.marked(_without_nulls(request.new_inputs)))

    async def diff(self, request: DiffRequest) -> DiffResponse:
        """The changed inputs, and the outputs that call for a replacement."""
        type_ = self._type(request.urn)
        state, new = plain(request.old_state), type_.filled(request.new_inputs)
        inputs = state.pop(OLD_INPUTS, {})
        old = {**type_.defaults, **(inputs or state)}
        names = new.keys() | inputs.keys()
        changed = {name for name in names if old.get(name) != new.get(name)}
        changed.difference_update(request.ignore_changes)
        due = [] if _has_unknown(new) else list(type_.due({**state, **new}))
        replaces = [*sorted(changed - type_.in_place), *due]
        update, replace = PropertyDiffKind.UPDATE, PropertyDiffKind.UPDATE_REPLACE
        detailed = {
            name: PropertyDiff(replace if name in replaces else update, input_diff=False)
            for name in (*changed, *due)
        }
        return DiffResponse(bool(detailed), replaces, detailed_diff=detailed)

    async def create(self, request: CreateRequest) -> CreateResponse:
        """The computed outputs, which are unknown in a preview."""
        type_ = self._type(request.urn)
        if request.preview:
            outputs = dict.fromkeys(type_.outputs, PropertyValue(UNKNOWN))
            state = {**wrapped(type_.defaults), **request.properties, **outputs}
            return CreateResponse("", state)
        inputs = type_.filled(request.properties)
        id_, outputs = type_.compute(inputs)
        return CreateResponse(id_, type_.marked(wrapped({**inputs, **outputs})))

    async def read(self, request: ReadRequest) -> ReadResponse:
        """The state, which is all that there is. Only what is due changes with time."""
        if not request.properties:
            raise ValueError(
                f"{request.resource_id} can't be imported: the lab's {self.package} plugin keeps "
                "resources only in the state of their stack"
            )
        due = self._type(request.urn).due(plain(request.properties))
        state = {**request.properties, **dict.fromkeys(due, PropertyValue(True))}
        return ReadResponse(request.resource_id, state, request.inputs)

    async def update(self, request: UpdateRequest) -> UpdateResponse:
        """The state with the new inputs, none of which changes an output."""
        defaults = wrapped(self._type(request.urn).defaults)
        return UpdateResponse({**request.olds, **defaults, **request.news})

    async def delete(self, request: DeleteRequest) -> None:
        """Nothing: the state is all that there is."""


def plain(values: Mapping[str, PropertyValue]) -> Properties:
    """The *values* of the SDK as plain ones."""
    return {name: _plain(value) for name, value in values.items() if value.value is not None}


def _plain(value: PropertyValue) -> Any:
    match value.value:
        case Mapping() as fields:
            return plain(fields)
        case tuple() as items:
            return [_plain(item) for item in items]
        case float() as number if number.is_integer():
            return int(number)
        case other:
            return other


def _without_nulls(values: Mapping[str, PropertyValue]) -> _Values:
    return {
        name: value.with_value(_without_nulls(value.value))
        if isinstance(value.value, Mapping)
        else value
        for name, value in values.items()
        if value.value is not None
    }


def wrapped(values: Properties) -> _Values:
    """The plain *values* as the SDK's."""
    return {name: _wrapped(value) for name, value in values.items()}


def _wrapped(value: Any) -> PropertyValue:
    match value:
        case dict():
            return PropertyValue(wrapped(value))
        case list():
            return PropertyValue([_wrapped(item) for item in value])
        case int() if not isinstance(value, bool):
            return PropertyValue(float(value))
        case _:
            return PropertyValue(value)


def _has_unknown(value: Any) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    return any(map(_has_unknown, value)) if isinstance(value, list) else value == UNKNOWN
