"""What every provider process shares: the gRPC service, the engine's log, errors, start and end.

A provider subclasses `Provider` and answers in plain Python; this module does the protocol
(https://www.pulumi.com/docs/iac/guides/building-extending/providers/).
"""

import importlib.metadata
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property, wraps
from typing import Any, NoReturn

import grpc

from lab.providers.stubs import (
    any_pb2,
    empty_pb2,
    engine_pb2,
    engine_pb2_grpc,
    plugin_pb2,
    provider_pb2,
    provider_pb2_grpc,
    status_pb2,
)
from lab.providers.values import Properties, decode, encode, plain

# Each operation may wait for minutes in a thread of its own; the engine runs at most 4 a core.
_THREADS = 128
_MESSAGE_BYTES = 400 << 20  # the engine's own limit
_OPTIONS = (
    ("grpc.max_receive_message_length", _MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MESSAGE_BYTES),
)

INFO, WARNING, ERROR = engine_pb2.INFO, engine_pb2.WARNING, engine_pb2.ERROR


class ResourceError(Exception):
    """An operation failed and changed nothing that the state must know; the text is the user's."""

    status: int | None = None
    """The HTTP status that an API refused with, 0 if nobody answered, None if no API was asked."""


class CheckFailed(Exception):
    """Inputs that can't be right: pairs of property and reason."""

    def __init__(self, failures: Iterable[tuple[str, str]]) -> None:
        """Keep every failure: the user sees them all at once."""
        self.failures = list(failures)
        super().__init__("; ".join(reason for _, reason in self.failures))


class NotReady(ResourceError):
    """The resource exists, but is not what was asked for: the state keeps it, marked so."""

    def __init__(self, message: str, reasons: list[str]) -> None:
        """Say what failed, and in `reasons` each thing that is known about why."""
        super().__init__(message)
        self.reasons = reasons
        self.id = ""
        self.state: Properties = {}
        self.inputs: Properties = {}

    def found(self, id_: str, state: Properties, inputs: Properties | None = None) -> "NotReady":
        """The same with the resource as it was last seen."""
        self.id, self.state, self.inputs = id_, state, inputs or {}
        return self


class Change(IntEnum):
    """How one property differs; one more than each is the same with a replacement."""

    ADD = 0
    DELETE = 2
    UPDATE = 4


@dataclass
class Diff:
    """What an update would do."""

    changes: dict[str, Change] = field(default_factory=dict)
    replaces: list[str] = field(default_factory=list)
    delete_before_replace: bool = False


@dataclass(frozen=True)
class Operation:
    """One resource's request, and the way to speak to the user about it."""

    urn: str
    timeout: float = 0
    preview: bool = False
    random_seed: bytes = b""
    proposed_name: str = ""
    log: Callable[[int, str, bool], None] = lambda severity, text, ephemeral: None
    cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def type(self) -> str:
        """The type token, as `kubernetes:apps/v1:Deployment`."""
        return self.urn.split("::")[2].split("$")[-1]

    @property
    def name(self) -> str:
        """The resource's name in the program."""
        return self.urn.split("::", 3)[3]

    def status(self, text: str, severity: int = INFO) -> None:
        """Show a line beside the resource while it is being worked on."""
        self.log(severity, text, True)

    def say(self, text: str, severity: int = WARNING) -> None:
        """Leave a line among the update's diagnostics."""
        self.log(severity, text, False)


def _answers(method: Callable[..., Any]) -> Callable[..., Any]:
    """Turn a provider's exceptions into the errors that the engine knows."""

    @wraps(method)
    def answer(self: "Provider", request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(self, request, context)
        except NotReady as error:
            _abort_with_state(context, error)
        except ResourceError as error:
            context.abort(grpc.StatusCode.UNKNOWN, str(error))
        except Exception as error:
            detail = traceback.format_exc()
            context.abort(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}\n{detail}")

    return answer


def _abort_with_state(context: grpc.ServicerContext, error: NotReady) -> NoReturn:
    detail = any_pb2.Any()
    detail.Pack(
        provider_pb2.ErrorResourceInitFailed(
            id=error.id,
            properties=encode(error.state),
            inputs=encode(error.inputs),
            reasons=[str(error), *error.reasons],
        )
    )
    code = grpc.StatusCode.UNKNOWN
    status = status_pb2.Status(code=code.value[0], message=str(error), details=[detail])
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(code, str(error))


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """The protocol on one side, plain Python on the other."""

    package: str

    def __init__(self, engine_address: str = "") -> None:
        """Remember where the engine listens; it is dialled when there is something to say."""
        self._engine_address = engine_address
        self.cancelled = threading.Event()

    # What a provider answers.

    def check_config(self, config: Properties) -> list[tuple[str, str]]:
        """The failures of a provider configuration."""
        return []

    def diff_config(self, old: Properties, new: Properties) -> Diff:
        """What a change of the provider's configuration means for its resources."""
        return Diff(
            {key: Change.UPDATE for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
        )

    def configure(self, config: Properties) -> None:
        """Take the configuration that was checked before."""

    def check(self, op: Operation, olds: Properties, news: Properties) -> Properties:
        """The inputs with names and defaults filled in, or `CheckFailed`."""
        raise NotImplementedError

    def diff(
        self,
        op: Operation,
        olds: Properties,
        state: Properties,
        news: Properties,
        ignore: list[str],
    ) -> Diff:
        """What differs between a resource's state and its new inputs."""
        raise NotImplementedError

    def create(self, op: Operation, inputs: Properties) -> tuple[str, Properties]:
        """Make the resource: its id and its state."""
        raise NotImplementedError

    def read(
        self, op: Operation, id_: str, state: Properties, inputs: Properties
    ) -> tuple[Properties, Properties] | None:
        """The resource's state and inputs as they are now, or None when it is gone."""
        raise NotImplementedError

    def update(
        self, op: Operation, state: Properties, news: Properties, ignore: list[str]
    ) -> Properties:
        """Change the resource in place: its new state."""
        raise NotImplementedError

    def delete(self, op: Operation, id_: str, state: Properties) -> None:
        """Remove the resource, and wait until it is gone."""

    # The protocol.

    @_answers
    def Handshake(self, request: Any, context: Any) -> Any:
        """Say what this provider understands."""
        self._engine_address = request.engine_address or self._engine_address
        return provider_pb2.ProviderHandshakeResponse(
            accept_secrets=True, supports_autonaming_configuration=True
        )

    @_answers
    def GetPluginInfo(self, request: Any, context: Any) -> Any:
        """Answer with the version of the SDK whose plugin this stands in for."""
        return plugin_pb2.PluginInfo(version=self._version)

    @_answers
    def GetSchema(self, request: Any, context: Any) -> Any:
        """Name the package; what it contains is in the SDK."""
        schema = {"name": self.package, "version": self._version}
        return provider_pb2.GetSchemaResponse(schema=json.dumps(schema))

    @_answers
    def CheckConfig(self, request: Any, context: Any) -> Any:
        """Refuse a provider configuration that can't work."""
        failures = self.check_config(plain(decode(request.news)))
        return provider_pb2.CheckResponse(inputs=request.news, failures=_failures(failures))

    @_answers
    def DiffConfig(self, request: Any, context: Any) -> Any:
        """Compare two provider configurations."""
        old, new = (plain(decode(side)) for side in (request.olds, request.news))
        return _diff_response(self.diff_config(old, new))

    @_answers
    def Configure(self, request: Any, context: Any) -> Any:
        """Take the provider configuration."""
        self.configure(plain(decode(request.args)))
        return provider_pb2.ConfigureResponse(
            acceptSecrets=True, supportsPreview=True, supports_autonaming_configuration=True
        )

    @_answers
    def Check(self, request: Any, context: Any) -> Any:
        """Check one resource's inputs."""
        op = self._operation(
            request, random_seed=request.randomSeed, proposed_name=request.autonaming.proposed_name
        )
        try:
            inputs = self.check(op, decode(request.olds), decode(request.news))
        except CheckFailed as error:
            failures = _failures(error.failures)
            return provider_pb2.CheckResponse(inputs=request.news, failures=failures)
        return provider_pb2.CheckResponse(inputs=encode(inputs))

    @_answers
    def Diff(self, request: Any, context: Any) -> Any:
        """Compare one resource's state with its new inputs."""
        return _diff_response(
            self.diff(
                self._operation(request),
                decode(request.old_inputs),
                decode(request.olds),
                decode(request.news),
                list(request.ignoreChanges),
            )
        )

    @_answers
    def Create(self, request: Any, context: Any) -> Any:
        """Create one resource."""
        id_, state = self.create(self._operation(request), decode(request.properties))
        return provider_pb2.CreateResponse(id=id_, properties=encode(state))

    @_answers
    def Read(self, request: Any, context: Any) -> Any:
        """Read one resource, for a refresh or an import."""
        state, inputs = decode(request.properties), decode(request.inputs)
        found = self.read(self._operation(request), request.id, state, inputs)
        if found is None:
            return provider_pb2.ReadResponse()
        return provider_pb2.ReadResponse(
            id=request.id, properties=encode(found[0]), inputs=encode(found[1])
        )

    @_answers
    def Update(self, request: Any, context: Any) -> Any:
        """Update one resource in place."""
        state, news = decode(request.olds), decode(request.news)
        state = self.update(self._operation(request), state, news, list(request.ignoreChanges))
        return provider_pb2.UpdateResponse(properties=encode(state))

    @_answers
    def Delete(self, request: Any, context: Any) -> Any:
        """Delete one resource."""
        self.delete(self._operation(request), request.id, decode(request.properties))
        return empty_pb2.Empty()

    def Cancel(self, request: Any, context: Any) -> Any:
        """End every wait that is under way."""
        self.cancelled.set()
        return empty_pb2.Empty()

    @cached_property
    def _version(self) -> str:
        return importlib.metadata.version(f"pulumi-{self.package}")

    @cached_property
    def _engine(self) -> Any:
        channel = grpc.insecure_channel(self._engine_address, options=_OPTIONS)
        return engine_pb2_grpc.EngineStub(channel)

    def _operation(self, request: Any, **more: Any) -> Operation:
        def log(severity: int, text: str, ephemeral: bool) -> None:
            line = engine_pb2.LogRequest(
                severity=severity, message=text, urn=request.urn, ephemeral=ephemeral
            )
            with suppress(grpc.RpcError):  # the engine may be gone; the work still counts
                self._engine.Log(line)

        return Operation(
            urn=request.urn,
            timeout=getattr(request, "timeout", 0),
            preview=getattr(request, "preview", False),
            log=log,
            cancelled=self.cancelled,
            **more,
        )


def _failures(failures: Iterable[tuple[str, str]]) -> list[Any]:
    return [provider_pb2.CheckFailure(property=name, reason=reason) for name, reason in failures]


def _diff_response(diff: Diff) -> Any:
    replaces = set(diff.replaces)
    detailed: Mapping[str, Any] = {
        path: provider_pb2.PropertyDiff(
            kind=change + (path in replaces), inputDiff=change is Change.DELETE
        )
        for path, change in diff.changes.items()
    }
    some = provider_pb2.DiffResponse.DIFF_SOME
    return provider_pb2.DiffResponse(
        changes=some if detailed or replaces else provider_pb2.DiffResponse.DIFF_NONE,
        replaces=diff.replaces,
        detailedDiff=detailed,
        hasDetailedDiff=True,
        deleteBeforeReplace=diff.delete_before_replace,
    )


def serve(provider_class: type[Provider]) -> None:
    """Serve until the engine says so or is gone. The engine's address is the last argument."""
    provider = provider_class(sys.argv[-1] if len(sys.argv) > 1 else "")
    server = grpc.server(ThreadPoolExecutor(_THREADS), options=_OPTIONS)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(provider, server)
    port = server.add_insecure_port("127.0.0.1:0")
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    engine = os.getppid()
    server.start()
    print(port, flush=True)
    # An engine that was killed can't say goodbye; its child then has another parent.
    while os.getppid() == engine and not stopping.wait(timeout=1):
        pass
    provider.cancelled.set()
    server.stop(grace=0.5).wait()
    os._exit(0)  # threads that still wait must not hold the process
