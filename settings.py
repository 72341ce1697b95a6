"""The stack's configuration: its keys, their types, defaults and descriptions, checked all at once.

The classes below are the one source of the keys: docs/configuration.md is made from them.
"""

import json
import re
from enum import Enum
from typing import Annotated, Any, Self

import pulumi
from pulumi.runtime import config as pulumi_config
from pulumi_buildkit import ENVOY_IMAGE, Protocol, Security, ServiceType
from pulumi_buildkit.certificates import is_address
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails, PydanticCustomError

PROJECT = "buildkit"

_LABEL = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"


def _san(value: str) -> str:
    if is_address(value) or re.fullmatch(rf"(\*\.)?{_LABEL}(\.{_LABEL})*", value):
        return value
    raise PydanticCustomError(
        "san", "is no DNS name (lower case) and no IP address; give one of them, without a port"
    )


San = Annotated[str, AfterValidator(_san)]
Name = Annotated[str, StringConstraints(pattern=f"^{_LABEL}$")]
Image = Annotated[str, StringConstraints(min_length=1)]
Port = Annotated[int, Field(ge=1, le=65535)]
Replicas = Annotated[int, Field(ge=1, le=1000)]
Hours = Annotated[int, Field(ge=1, le=876_000)]


class Mode(str, Enum):
    """How buildkitd runs."""

    DEPLOYMENT = "deployment"


class _Section(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )


class GatewaySettings(_Section):
    """The Envoy gateway that clients connect to."""

    protocol: Protocol = Protocol.HTTP2
    """`http2` holds builds while no buildkitd is ready; `tcp` passes bytes on."""
    host: San | None = None
    """Name or address that clients dial; the certificate is valid for it. Default: the
    gateway's Service in the cluster's DNS."""
    port: Port = 1234
    """Port of the gateway's Service."""
    service: ServiceType = ServiceType.CLUSTER_IP
    """How the gateway's Service is exposed."""
    node_port: Annotated[int, Field(ge=1024, le=65535)] | None = None
    """Port on every node, with `service: NodePort`. Default: one that Kubernetes chooses."""
    replicas: Replicas = 2
    """Number of gateway pods."""
    hold: Annotated[int, Field(ge=0, le=86_400)] = 600
    """How long a build waits for a ready buildkitd, in seconds."""
    image: Image = ENVOY_IMAGE
    """Envoy's image, by tag or digest."""

    @model_validator(mode="after")
    def _exposure(self) -> Self:
        if self.service is not ServiceType.CLUSTER_IP and self.host is None:
            raise PydanticCustomError(
                "host",
                "host is missing: with service {service} give the name or address that clients "
                "dial, or no certificate is valid for it",
                {"service": self.service.value},
            )
        if self.node_port is not None and self.service is not ServiceType.NODE_PORT:
            raise PydanticCustomError(
                "node_port",
                "nodePort is {port} while service is {service}; take it away, or set "
                "service: NodePort",
                {"port": self.node_port, "service": self.service.value},
            )
        return self


class CertificateSettings(_Section):
    """The certificates of the gateway and its clients."""

    sans: list[San] = []
    """Further names and addresses of the gateway that its certificate is valid for."""
    validity_hours: Hours = 8760
    """How long certificates are valid, in hours."""
    early_renewal_hours: Hours = 720
    """`pulumi up` renews a certificate this many hours before it ends."""
    ca_validity_hours: Hours = 87_600
    """How long the certificate authorities are valid, in hours."""

    @model_validator(mode="after")
    def _lifetimes(self) -> Self:
        if self.early_renewal_hours >= self.validity_hours:
            raise PydanticCustomError(
                "renewal",
                "earlyRenewalHours is {early}, which must be less than validityHours, {validity}",
                {"early": self.early_renewal_hours, "validity": self.validity_hours},
            )
        if self.ca_validity_hours < self.validity_hours:
            raise PydanticCustomError(
                "authority",
                "caValidityHours is {ca}, which must not be less than validityHours, {validity}",
                {"ca": self.ca_validity_hours, "validity": self.validity_hours},
            )
        return self


class ClientSettings(_Section):
    """One client that may build."""


class RegistrySettings(_Section):
    """How buildkitd reaches one registry."""

    mirrors: list[str] = []
    """Registries to ask first for what this one holds, each `host[:port][/path]`."""
    http: bool = False
    """Talk plain HTTP to it."""
    insecure: bool = False
    """Accept any TLS certificate of it."""


class Settings(_Section):
    """The keys of a stack, each written `buildkit:KEY`."""

    clients: Annotated[dict[Name, ClientSettings], Field(min_length=1)]
    """Who may build: a certificate is made for each name, and one that is deleted is refused."""
    mode: Mode = Mode.DEPLOYMENT
    """How buildkitd runs."""
    security: Security = Security.ROOTLESS
    """How much of the node buildkitd may touch."""
    namespace: Name | None = None
    """Namespace to make and use. Default: project, stack and a random suffix."""
    image: Image | None = None
    """buildkitd's image, by tag or digest, used as it is for any security variant. Default: the
    official one for the security variant."""
    replicas: Replicas = 1
    """Number of buildkitd pods; each has a cache of its own."""
    gateway: GatewaySettings = GatewaySettings()
    """The Envoy gateway that clients connect to."""
    certificates: CertificateSettings = CertificateSettings()
    """The certificates of the gateway and its clients."""
    registries: dict[str, RegistrySettings] = {}
    """How to reach registries, by `host[:port]`. Default: all by HTTPS."""


def load() -> Settings:
    """The settings of the stack that runs.

    Raises:
        pulumi.RunError: one line for each mistake in its configuration.
    """
    return parse(_stack_values())


def parse(values: dict[str, str]) -> Settings:
    """The settings from *values*, as Pulumi hands them over: text, or JSON for a structured key.

    Raises:
        pulumi.RunError: one line for each mistake.
    """
    try:
        return Settings.model_validate({key: _decoded(value) for key, value in values.items()})
    except ValidationError as error:
        lines = [_line(details) for details in error.errors()]
        raise pulumi.RunError(
            "\n".join(["the stack's configuration can't be used:", *lines])
        ) from None


def _stack_values() -> dict[str, str]:
    # pulumi.Config answers for known keys only; a misspelt one has to be seen as well.
    values = {**pulumi_config.get_config_env(), **pulumi_config.CONFIG.get()}
    prefix = f"{PROJECT}:"
    return {key.removeprefix(prefix): v for key, v in values.items() if key.startswith(prefix)}


def _decoded(value: str) -> Any:
    if value.startswith(("{", "[")):
        return json.loads(value)
    return value


_ADVICE = {
    "extra_forbidden": "is no key; see docs/configuration.md for those that there are",
    "missing": "is missing; see docs/configuration.md",
    "too_short": "is empty; give at least one",
    "string_pattern_mismatch": (
        "is no name; take lower-case letters, digits and hyphens, 63 at most"
    ),
    "model_type": "is no map; write the keys of docs/configuration.md below it",
    "dict_type": "is no map; write one name a line below it",
}


def _line(details: ErrorDetails) -> str:
    key = ".".join(str(part) for part in details["loc"] if part != "[key]")
    message = _ADVICE.get(details["type"]) or details["msg"]
    shown = "" if isinstance(details["input"], dict) else f" {details['input']!r}:"
    return f"  {PROJECT}:{key}:{shown} {message[0].lower()}{message[1:]}"
