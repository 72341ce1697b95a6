"""Runs programs without Pulumi's engine, with what its providers would compute made up."""

import json
import runpy
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from render import recording
from render.configuration import read
from render.recording import Outputs, Recording, Resource, Values

__all__ = ["Outputs", "Recording", "Resource", "record", "record_program"]

REPO = Path(__file__).parent.parent
AUTO_NAME = "-7f3a9c"
NODE_PORT = 31234


def _named(name: str, inputs: Values) -> Values:
    return {"metadata": {"name": f"{name}{AUTO_NAME}", **inputs.get("metadata", {})}}


def _service(name: str, inputs: Values) -> Values:
    spec = inputs["spec"]
    if spec.get("type") != "NodePort":
        return _named(name, inputs)
    ports = [{"nodePort": NODE_PORT, **port} for port in spec["ports"]]
    return {**_named(name, inputs), "spec": {**spec, "ports": ports}}


def _pem(*outputs: str) -> Callable[[str, Values], Values]:
    return lambda name, _: {output: f"{output} of {name}" for output in outputs}


_COMPUTED: dict[str, Callable[[str, Values], Values]] = {
    "kubernetes": _named,
    "kubernetes:core/v1:Service": _service,
    "random:index/randomString:RandomString": lambda *_: {"result": "x1y2z"},
    "tls:index/privateKey:PrivateKey": _pem("privateKeyPem", "publicKeyPem"),
    "tls:index/selfSignedCert:SelfSignedCert": _pem("certPem", "validityEndTime"),
    "tls:index/certRequest:CertRequest": _pem("certRequestPem"),
    "tls:index/locallySignedCert:LocallySignedCert": _pem("certPem", "validityEndTime"),
}


def _compute(kind: str, name: str, inputs: Values) -> Values:
    """What the real providers compute, where the program uses it."""
    computed = _COMPUTED.get(kind) or _COMPUTED.get(kind.partition(":")[0]) or (lambda *_: {})
    return computed(name, inputs)


def record(
    program: Callable[[], Any],
    settings: dict[str, str] | None = None,
    preview: bool = False,
    secret_keys: Iterable[str] = (),
) -> Recording:
    """Run *program* as the stack `dev` of the project `buildkit`, with these *settings*."""
    return recording.record(
        program, _compute, "buildkit", "dev", settings or {}, secret_keys, preview
    )


def record_program(
    preview: bool = False, secret_keys: Iterable[str] = (), **keys: Any
) -> Recording:
    """Run the program as the dev stack, with *keys* changed in its configuration."""
    changed = {
        f"buildkit:{key}": value if isinstance(value, str) else json.dumps(value)
        for key, value in keys.items()
    }
    secret = [f"buildkit:{key}" for key in secret_keys]
    return _record_program({**read(REPO, "dev").values, **changed}, preview, secret)


def record_stack(file: Path) -> Recording:
    """Run the program with the configuration in a stack's *file*, and no other."""
    return _record_program(read(file.parent, file.stem.removeprefix("Pulumi.")).values)


def _record_program(
    settings: dict[str, str], preview: bool = False, secret_keys: Iterable[str] = ()
) -> Recording:
    # The provider would work on this one; it can't be asked, so a machine's own cluster is not.
    elsewhere = {"kubernetes:cluster": "elsewhere"}
    unasked = {"buildkit:preflight": "none"}
    program = REPO / "__main__.py"
    return record(
        lambda: runpy.run_path(str(program)),
        {**unasked, **settings, **elsewhere},
        preview,
        secret_keys,
    )
