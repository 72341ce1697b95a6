"""A stand-in for Pulumi's engine and providers that keeps what a program registers."""

import asyncio
import contextvars
import json
import runpy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format
from pulumi.runtime import config, rpc, stack
from pulumi.runtime.mocks import MockCallArgs, MockEngine, MockMonitor, MockResourceArgs, Mocks
from pulumi.runtime.proto import resource_pb2
from pulumi.runtime.settings import Settings, configure

REPO = Path(__file__).parent.parent
DEV = REPO / "Pulumi.dev.yaml"
AUTO_NAME = "-7f3a9c"
NODE_PORT = 31234

Values = dict[str, Any]


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


class _Providers(Mocks):
    """What the real providers compute, where the program uses it."""

    def new_resource(self, args: MockResourceArgs) -> tuple[str, Values]:
        package = args.typ.partition(":")[0]
        computed = _COMPUTED.get(args.typ) or _COMPUTED.get(package) or (lambda _: {})
        return f"{args.name}-id", {**args.inputs, **computed(args)}

    def call(self, args: MockCallArgs) -> tuple[Values, None]:
        raise AssertionError(f"the program called {args.token}")


def _named(args: MockResourceArgs) -> Values:
    metadata = args.inputs.get("metadata", {})
    return {"metadata": {"name": f"{args.name}{AUTO_NAME}", **metadata}}


def _service(args: MockResourceArgs) -> Values:
    spec = args.inputs["spec"]
    if spec.get("type") != "NodePort":
        return _named(args)
    ports = [{"nodePort": NODE_PORT, **port} for port in spec["ports"]]
    return {**_named(args), "spec": {**spec, "ports": ports}}


def _pem(*outputs: str) -> Callable[[MockResourceArgs], Values]:
    return lambda args: {output: f"{output} of {args.name}" for output in outputs}


_COMPUTED: dict[str, Callable[[MockResourceArgs], Values]] = {
    "kubernetes": _named,
    "kubernetes:core/v1:Service": _service,
    "random:index/randomString:RandomString": lambda args: {"result": "x1y2z"},
    "tls:index/privateKey:PrivateKey": _pem("privateKeyPem", "publicKeyPem"),
    "tls:index/selfSignedCert:SelfSignedCert": _pem("certPem", "validityEndTime"),
    "tls:index/certRequest:CertRequest": _pem("certRequestPem"),
    "tls:index/locallySignedCert:LocallySignedCert": _pem("certPem", "validityEndTime"),
}


class _Monitor(MockMonitor):
    """Keeps whole requests: parents, options, secrets, registered outputs."""

    def __init__(self, preview: bool) -> None:
        super().__init__(_Providers())
        self.recording = Recording()
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
        self.recording.resources.append(
            Resource(
                urn,
                request.type,
                request.name,
                request.parent,
                _plain(inputs),
                frozenset(_secret_paths(inputs)),
                request,
            )
        )
        if not request.custom:
            return resource_pb2.RegisterResourceResponse(urn=urn)
        made, outputs = self.mocks.new_resource(
            MockResourceArgs(request.type, request.name, inputs)
        )
        computed = {
            key: rpc.UNKNOWN if self._preview and key not in inputs else value
            for key, value in outputs.items()
        }
        for key in set(request.additionalSecretOutputs) & set(computed):
            computed[key] = {rpc._special_sig_key: rpc._special_secret_sig, "value": computed[key]}
        return resource_pb2.RegisterResourceResponse(
            urn=urn,
            id="" if self._preview else made or "",
            object=json_format.ParseDict(computed, type(request.object)()),
        )

    def RegisterResourceOutputs(self, request: resource_pb2.RegisterResourceOutputsRequest) -> Any:
        outputs = _dict(request.outputs)
        self.recording.outputs[request.urn] = Outputs(
            _plain(outputs), frozenset(_secret_paths(outputs))
        )
        return super().RegisterResourceOutputs(request)


def record(
    program: Callable[[], Any],
    settings: dict[str, str] | None = None,
    preview: bool = False,
    secret_keys: Iterable[str] = (),
) -> Recording:
    """Run *program* as the stack `dev` of the project `buildkit`, with these *settings*."""
    monitor = _Monitor(preview)
    # In a context of its own it sees nothing of another program in this process.
    contextvars.copy_context().run(_run, program, monitor, settings or {}, preview, secret_keys)
    return monitor.recording


def record_program(
    preview: bool = False, secret_keys: Iterable[str] = (), **keys: Any
) -> Recording:
    """Run the program as the dev stack, with *keys* changed in its configuration."""
    changed = {
        f"buildkit:{key}": value if isinstance(value, str) else json.dumps(value)
        for key, value in keys.items()
    }
    secret = [f"buildkit:{key}" for key in secret_keys]
    return _record_program({**stack_config(DEV), **changed}, preview, secret)


def record_stack(file: Path) -> Recording:
    """Run the program with the configuration in a stack's *file*, and no other."""
    return _record_program(stack_config(file))


def _record_program(
    settings: dict[str, str], preview: bool = False, secret_keys: Iterable[str] = ()
) -> Recording:
    # The provider would work on this one; it can't be asked, so a machine's own cluster is not.
    elsewhere = {"kubernetes:cluster": "elsewhere"}
    program = REPO / "__main__.py"
    return record(
        lambda: runpy.run_path(str(program)), {**settings, **elsewhere}, preview, secret_keys
    )


def _run(
    program: Callable[[], Any],
    monitor: _Monitor,
    settings: dict[str, str],
    preview: bool,
    secret_keys: Iterable[str],
) -> None:
    config.set_all_config(settings, [*secret_keys])
    configure(
        Settings("buildkit", "dev", monitor=monitor, engine=MockEngine(None), dry_run=preview)
    )
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(stack.run_in_stack(program))
    finally:
        loop.close()


def stack_config(file: Path) -> dict[str, str]:
    """The configuration in a stack's *file* as Pulumi hands it to the program."""
    document = yaml.safe_load(file.read_text())
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in document["config"].items()}


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
