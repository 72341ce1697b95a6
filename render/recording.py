"""Runs a program without Pulumi's engine, and keeps what it registers."""

import asyncio
import contextvars
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import json_format
from pulumi.runtime import config, rpc, stack
from pulumi.runtime.mocks import MockCallArgs, MockMonitor, MockResourceArgs, Mocks
from pulumi.runtime.proto import engine_pb2, resource_pb2
from pulumi.runtime.settings import Settings, configure

Values = dict[str, Any]
Compute = Callable[[str, str, Values], Values]
"""What a provider computes, of a resource's type, its name and its inputs, which are plain."""


@dataclass(frozen=True)
class Resource:
    """One resource as it was registered, with plain inputs."""

    urn: str
    type: str
    name: str
    parent: str
    inputs: Values
    secrets: frozenset[str]
    """Paths of the inputs that are secret, as `data.key.pem`."""
    request: resource_pb2.RegisterResourceRequest


@dataclass(frozen=True)
class Outputs:
    """What a component or the stack registered as its outputs."""

    values: Values
    secrets: frozenset[str]


@dataclass
class Recording:
    """Everything that one run of a program registered."""

    resources: list[Resource] = field(default_factory=list)
    outputs: dict[str, Outputs] = field(default_factory=dict)

    def one(self, kind: str, name: str = "") -> Resource:
        """The one resource whose type ends with *kind*, called *name* if that is given."""
        (found,) = (r for r in self.of(kind) if name in ("", r.name))
        return found

    def of(self, kind: str) -> Iterator[Resource]:
        """All resources whose type ends with *kind*."""
        return (r for r in self.resources if r.type.endswith(f":{kind}"))

    def outputs_of(self, kind: str) -> Outputs:
        """The outputs of the one component of the type *kind*, or of the `Stack`."""
        (urn,) = (urn for urn in self.outputs if urn.split("::")[2].endswith(f":{kind}"))
        return self.outputs[urn]


def record(
    program: Callable[[], Any],
    compute: Compute,
    project: str,
    stack_name: str,
    values: Mapping[str, str],
    secret_keys: Iterable[str] = (),
    preview: bool = False,
) -> Recording:
    """Run *program* with a stack's configuration, as Pulumi hands it over.

    In a *preview* what providers compute is unknown.

    Raises:
        pulumi.RunError: the program refuses its configuration.
    """
    monitor = _Monitor(compute, preview)

    def run() -> None:
        config.set_all_config(dict(values), [*secret_keys])
        configure(Settings(project, stack_name, monitor=monitor, engine=_Engine(), dry_run=preview))
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(stack.run_in_stack(program))
        finally:
            loop.close()

    # In a context of its own it sees nothing of another program in this process.
    contextvars.copy_context().run(run)
    return monitor.recording


class _Engine:
    """Says what the program warns of."""

    def Log(self, request: engine_pb2.LogRequest) -> None:
        if request.severity >= engine_pb2.WARNING:
            print(request.message, file=sys.stderr)


class _NoCalls(Mocks):
    """The monitor's own hooks, of which one is in use."""

    def new_resource(self, args: MockResourceArgs) -> tuple[str, Values]:
        raise NotImplementedError

    def call(self, args: MockCallArgs) -> tuple[Values, None]:
        raise AssertionError(f"the program called {args.token}")


class _Monitor(MockMonitor):
    """Keeps whole requests: parents, options, secrets, registered outputs."""

    def __init__(self, compute: Compute, preview: bool) -> None:
        super().__init__(_NoCalls())
        self.recording = Recording()
        self._compute = compute
        self._preview = preview

    def RegisterResource(
        self, request: resource_pb2.RegisterResourceRequest
    ) -> resource_pb2.RegisterResourceResponse:
        urn = self.make_urn(request.parent, request.type, request.name)
        inputs: Values = _dict(request.object)
        if request.type == "pulumi:pulumi:Stack":
            return resource_pb2.RegisterResourceResponse(urn=urn)
        # The engine refuses it, too.
        assert urn not in self.resources, f"duplicate resource {urn}"
        self.resources[urn] = MockMonitor.ResourceRegistration(urn, "", inputs)
        plain = _plain(inputs)
        self.recording.resources.append(
            Resource(
                urn,
                request.type,
                request.name,
                request.parent,
                plain,
                frozenset(_secret_paths(inputs)),
                request,
            )
        )
        if not request.custom:
            return resource_pb2.RegisterResourceResponse(urn=urn)
        outputs = {**inputs, **self._compute(request.type, request.name, plain)}
        computed = {
            key: rpc.UNKNOWN if self._preview and key not in inputs else value
            for key, value in outputs.items()
        }
        for key in set(request.additionalSecretOutputs) & set(computed):
            computed[key] = {rpc._special_sig_key: rpc._special_secret_sig, "value": computed[key]}
        return resource_pb2.RegisterResourceResponse(
            urn=urn,
            id="" if self._preview else f"{request.name}-id",
            object=json_format.ParseDict(computed, type(request.object)()),
        )

    def RegisterResourceOutputs(self, request: resource_pb2.RegisterResourceOutputsRequest) -> Any:
        outputs = _dict(request.outputs)
        self.recording.outputs[request.urn] = Outputs(
            _plain(outputs), frozenset(_secret_paths(outputs))
        )
        return super().RegisterResourceOutputs(request)


def _dict(message: Any) -> Values:
    values: Any = json_format.MessageToDict(message)
    return values


def _is_secret(value: Any) -> bool:
    return isinstance(value, dict) and value.get(rpc._special_sig_key) == rpc._special_secret_sig


def _plain(value: Any) -> Any:
    if _is_secret(value):
        return _plain(value["value"])
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    # All numbers travel as floats.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _secret_paths(value: Any, path: str = "") -> Iterator[str]:
    if _is_secret(value):
        yield path
    elif isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            yield from _secret_paths(inner, f"{path}.{key}".removeprefix("."))
