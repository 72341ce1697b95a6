"""The program of a directory, run for what it registers."""

import runpy
from collections.abc import Callable
from pathlib import Path

from render import RenderError, tls
from render.configuration import Configuration
from render.keyring import Keyring
from render.manifests import metadata_of
from render.recording import Recording, Values, record
from settings import PROJECT

NODE_PORT = "NODE_PORT"
"""What stands in the commands for a port that Kubernetes chooses."""

_Compute = Callable[[str, Values], Values]


def run(
    project: Path,
    stack: str,
    configuration: Configuration,
    directory: Path,
    keyring: Keyring | None,
) -> Recording:
    """Run the program in *project* for manifests in *directory*.

    Without a *keyring* there is nothing in its Secrets.

    Raises:
        RenderError: its configuration is one that only an engine can do with.
        pulumi.RunError: the program refuses it.
    """
    if f"{PROJECT}:namespace" not in configuration.values:
        raise RenderError(
            f"{PROJECT}:namespace: is missing, and the random one of an update would be another "
            f"with each rendering; name it: pulumi config set {PROJECT}:namespace builds"
        )
    # The provider's own key for this: nothing is asked of a cluster, and the program says what.
    offline = {"kubernetes:renderYamlToDirectory": str(directory)}
    computed = {**_COMPUTED, **(_kept_in(keyring) if keyring else _UNWRITTEN)}

    def compute(kind: str, name: str, inputs: Values) -> Values:
        by_kind = computed.get(kind) or computed[kind.partition(":")[0]]
        return by_kind(name, inputs)

    return record(
        lambda: runpy.run_path(str(project / "__main__.py")),
        compute,
        PROJECT,
        stack,
        {**configuration.values, **offline},
        configuration.secrets,
    )


def _named(name: str, inputs: Values) -> Values:
    return {"metadata": metadata_of(name, inputs)}


def _service(name: str, inputs: Values) -> Values:
    spec = inputs["spec"]
    # One without a port is headless.
    ports = [{"nodePort": NODE_PORT, **port} for port in spec.get("ports", [])]
    return {**_named(name, inputs), "spec": {**spec, "ports": ports}}


_COMPUTED: dict[str, _Compute] = {
    "kubernetes": _named,
    "kubernetes:core/v1:Service": _service,
    # It is made in any case, and used where no namespace is named.
    "random": lambda *_: {"result": ""},
}
_PRIVATE_KEY = "tls:index/privateKey:PrivateKey"
_REQUEST = "tls:index/certRequest:CertRequest"
_SELF_SIGNED = "tls:index/selfSignedCert:SelfSignedCert"
_LOCALLY_SIGNED = "tls:index/locallySignedCert:LocallySignedCert"
_UNWRITTEN: dict[str, _Compute] = {
    "tls": lambda *_: dict.fromkeys(
        ("privateKeyPem", "certRequestPem", "certPem", "validityEndTime"), ""
    )
}


def _kept_in(keyring: Keyring) -> dict[str, _Compute]:
    return {
        _PRIVATE_KEY: keyring.private_key,
        _REQUEST: lambda _, inputs: tls.request(inputs)[1],
        _SELF_SIGNED: lambda name, inputs: keyring.certificate(name, inputs, tls.self_signed),
        _LOCALLY_SIGNED: lambda name, inputs: keyring.certificate(name, inputs, tls.locally_signed),
    }
