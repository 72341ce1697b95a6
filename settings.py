"""The stack's configuration: its keys, their types, defaults and descriptions, checked all at once.

The classes below are the one source of the keys: docs/configuration.md is made from them.
"""

import difflib
import json
import re
import reprlib
from collections.abc import Callable
from enum import Enum
from typing import Annotated, Any, LiteralString, get_args

import pulumi
from pulumi.runtime import config as pulumi_config
from pulumi_buildkit import ENVOY_IMAGE, Protocol, Security, ServiceType
from pulumi_buildkit.certificates import RESERVED_CLIENTS, is_address
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails, PydanticCustomError

PROJECT = "buildkit"

_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
# Digits and dots alone would be a mistyped address.
_DNS_NAME = rf"(?=.{{1,253}}$)(?![\d.]+$){_LABEL}(\.{_LABEL})*"
_REGISTRY = r"([a-zA-Z0-9][a-zA-Z0-9.-]*|\[[0-9a-f:]+\])(:\d{1,5})?"
_PATH = r"[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*"
_TAG_AND_DIGEST = r"(:\w[\w.-]{0,127})?(@sha256:[0-9a-f]{64})?"


def _like(pattern: str) -> Callable[[str], object]:
    return re.compile(pattern, re.ASCII).fullmatch


def _is_host(value: str) -> bool:
    return is_address(value) or bool(_like(_DNS_NAME)(value))


def _check(allowed: Callable[[str], object], complaint: LiteralString) -> AfterValidator:
    def check(value: str) -> str:
        if allowed(value):
            return value
        raise PydanticCustomError("form", complaint)

    return AfterValidator(check)


def _no_truth_value(value: object) -> object:
    # Python takes true for 1.
    return json.dumps(value) if isinstance(value, bool) else value


def _nothing_is_empty(value: object) -> object:
    return {} if value is None else value


Host = Annotated[
    str,
    _check(
        _is_host,
        "is no DNS name (lower case) and no IP address; give one of them, without scheme or port",
    ),
]
San = Annotated[
    str,
    _check(
        lambda value: _is_host(value.removeprefix("*.")),
        "is no DNS name (lower case, `*.` in front allowed) and no IP address; give one of them, "
        "without scheme or port",
    ),
]
Name = Annotated[
    str,
    _check(
        _like(_LABEL),
        "is no name; take lower-case letters, digits and hyphens inside, 63 characters at most",
    ),
]
ClientName = Annotated[
    Name,
    _check(
        lambda value: value not in RESERVED_CLIENTS,
        "is a name that the server's own certificates have; give the client another",
    ),
]
Image = Annotated[
    str,
    _check(
        _like(rf"({_REGISTRY}/)?{_PATH}{_TAG_AND_DIGEST}"),
        "is no image; write it as REGISTRY/NAME:TAG or REGISTRY/NAME@sha256:DIGEST",
    ),
]
Registry = Annotated[
    str,
    _check(_like(_REGISTRY), "is no registry; write it as HOST or HOST:PORT, without a scheme"),
]
Mirror = Annotated[
    str,
    _check(
        _like(rf"{_REGISTRY}(/{_PATH})?"),
        "is no mirror; write it as HOST[:PORT][/PATH], without a scheme",
    ),
]
_WHOLE = BeforeValidator(_no_truth_value)
Port = Annotated[int, Field(ge=1, le=65535), _WHOLE]
NodePort = Annotated[int, Field(ge=1024, le=65535), _WHOLE]
Replicas = Annotated[int, Field(ge=1, le=1000), _WHOLE]
Seconds = Annotated[int, Field(ge=0, le=86_400), _WHOLE]
Patience = Annotated[int, Field(ge=10, le=86_400), _WHOLE]
Hours = Annotated[int, Field(ge=1, le=876_000), _WHOLE]


class Mode(str, Enum):
    """How buildkitd runs."""

    DEPLOYMENT = "deployment"
    """A Deployment with a Service."""


class Section(BaseModel):
    """Keys that belong together."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )


class GatewaySettings(Section):
    """The Envoy gateway that clients connect to."""

    protocol: Protocol = Protocol.HTTP2
    """What the gateway sees in a client's connection."""
    service: ServiceType = ServiceType.CLUSTER_IP
    """How the gateway's Service is exposed."""
    host: Annotated[Host | None, Field(validate_default=True)] = None
    """Name or address that clients dial; the certificate is valid for it. It has to be given with
    `service: NodePort` and `LoadBalancer`. Default: the gateway's Service in the cluster's DNS."""
    port: Port = 1234
    """Port of the gateway's Service."""
    node_port: NodePort | None = None
    """Port on every node, with `service: NodePort`. Default: one that Kubernetes chooses."""
    replicas: Replicas = 2
    """Number of gateway pods."""
    hold: Seconds = 600
    """How long a build waits for a ready buildkitd, in seconds."""
    image: Image = ENVOY_IMAGE
    """Envoy's image, by tag or digest."""

    @field_validator("host")
    @classmethod
    def _exposed_host(cls, host: str | None, info: ValidationInfo) -> str | None:
        service = info.data.get("service", ServiceType.CLUSTER_IP)
        if host is None and service is not ServiceType.CLUSTER_IP:
            raise PydanticCustomError(
                "host",
                "is missing: with service {service} give the name or address that clients dial, "
                "or no certificate is valid for it",
                {"service": service.value},
            )
        return host

    @field_validator("node_port")
    @classmethod
    def _exposed_port(cls, port: int | None, info: ValidationInfo) -> int | None:
        service = info.data.get("service", ServiceType.NODE_PORT)
        if port is not None and service is not ServiceType.NODE_PORT:
            raise PydanticCustomError(
                "node_port",
                "needs service NodePort, and service is {service}; take it away, or set "
                "service: NodePort",
                {"service": service.value},
            )
        return port


class CertificateSettings(Section):
    """The certificates of the gateway and its clients."""

    sans: list[San] = []
    """Further names and addresses of the gateway that its certificate is valid for."""
    validity_hours: Hours = 8760
    """How long certificates are valid, in hours."""
    early_renewal_hours: Annotated[Hours, Field(validate_default=True)] = 720
    """`pulumi up` renews a certificate this many hours before it ends."""
    ca_validity_hours: Annotated[Hours, Field(validate_default=True)] = 87_600
    """How long the certificate authorities are valid, in hours."""

    @field_validator("early_renewal_hours")
    @classmethod
    def _renewed_in_time(cls, early: int, info: ValidationInfo) -> int:
        validity = info.data.get("validity_hours")
        if validity is not None and early >= validity:
            raise PydanticCustomError(
                "renewal",
                "is not less than validityHours, {validity}; take fewer hours",
                {"validity": validity, "key": "earlyRenewalHours"},
            )
        return early

    @field_validator("ca_validity_hours")
    @classmethod
    def _outlived_by_the_ca(cls, ca: int, info: ValidationInfo) -> int:
        validity = info.data.get("validity_hours")
        if validity is not None and ca < validity:
            raise PydanticCustomError(
                "ca",
                "is less than validityHours, {validity}; take as many hours at least",
                {"validity": validity, "key": "caValidityHours"},
            )
        return ca


class ClientSettings(Section):
    """One client that may build. It has no keys yet: write `{}`, or nothing."""


class RegistrySettings(Section):
    """How buildkitd reaches one registry."""

    mirrors: list[Mirror] = []
    """Registries to ask first for what this one holds, each `host[:port][/path]`."""
    http: bool = False
    """Talk plain HTTP to it."""
    insecure: bool = False
    """Accept any TLS certificate of it."""


class Settings(Section):
    """The keys of a stack, each written `buildkit:KEY`."""

    clients: Annotated[
        dict[ClientName, Annotated[ClientSettings, BeforeValidator(_nothing_is_empty)]],
        Field(min_length=1),
    ]
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
    update_timeout: Patience = 600
    """How long `pulumi up` waits for pods to be ready, in seconds."""
    gateway: GatewaySettings = GatewaySettings()
    """The Envoy gateway that clients connect to."""
    certificates: CertificateSettings = CertificateSettings()
    """The certificates of the gateway and its clients."""
    registries: dict[Registry, RegistrySettings] = {}
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


def section_of(annotation: Any) -> type[Section] | None:
    """The section that a key of the type *annotation* holds, itself or as a map's values."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next(filter(None, map(section_of, get_args(annotation))), None)


def _stack_values() -> dict[str, str]:
    # pulumi.Config answers for known keys only; a misspelt one has to be seen as well.
    values = {**pulumi_config.get_config_env(), **pulumi_config.CONFIG.get()}
    prefix = f"{PROJECT}:"
    return {key.removeprefix(prefix): v for key, v in values.items() if key.startswith(prefix)}


def _decoded(value: str) -> Any:
    if not value.startswith(("{", "[")):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        # No map and no list, then, which is what the key's own line will say.
        return value


_NO_WHOLE_NUMBER = "is no whole number; write one, as 2"
_NO_TEXT = "is no text; put it in quotes"
_NO_MAP = "is no map; write its keys below it, one a line"
_NO_TRUTH_VALUE = "is neither true nor false; write one of them"

# What is wrong and what to do, by pydantic's name for the mistake, with that mistake's figures.
_ADVICE = {
    "bool_parsing": _NO_TRUTH_VALUE,
    "bool_type": _NO_TRUTH_VALUE,
    "dict_type": "is no map; write its names below it, one a line, each followed by a colon",
    "enum": "is none of its values; take {expected}",
    "finite_number": _NO_WHOLE_NUMBER,
    "greater_than_equal": "is too small; take {ge} or more",
    "int_from_float": _NO_WHOLE_NUMBER,
    "int_parsing": _NO_WHOLE_NUMBER,
    "int_parsing_size": _NO_WHOLE_NUMBER,
    "int_type": _NO_WHOLE_NUMBER,
    "less_than_equal": "is too large; take {le} or less",
    "list_type": "is no list; write its items below it, one a line, each after a hyphen",
    "missing": "is missing; write at least one name below it, as `dev: {{}}`",
    "model_type": _NO_MAP,
    "string_type": _NO_TEXT,
    "string_unicode": _NO_TEXT,
    "too_short": "is empty; write at least one name below it, as `dev: {{}}`",
}


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80


def _line(details: ErrorDetails) -> str:
    value = details["input"]
    # A map would be the one around the mistake, and an absent value is said to be missing.
    shown = "" if value is None or isinstance(value, dict) else f" {_SHORT.repr(value)}:"
    return f"  {PROJECT}:{_path(_location(details))}:{shown} {_message(details)}"


def _location(details: ErrorDetails) -> tuple[int | str, ...]:
    *section, key = details["loc"]
    if key == "[key]":
        # A name in a map is wrong: pydantic adds this to it.
        return tuple(section)
    # A default that is wrong beside other values has pydantic's name of it here, not the key's.
    return (*section, details.get("ctx", {}).get("key", key))


def _message(details: ErrorDetails) -> str:
    if details["type"] == "extra_forbidden":
        return _unknown_key(details["loc"])
    advice = _ADVICE.get(details["type"])
    return advice.format(**details.get("ctx", {})) if advice else details["msg"]


def _unknown_key(loc: tuple[int | str, ...]) -> str:
    """What to write instead of the key at *loc*."""
    section = Settings if len(loc) == 1 else _section_below(str(loc[0]))
    keys = [field.alias or name for name, field in section.model_fields.items()]
    close = difflib.get_close_matches(str(loc[-1]), keys, n=1)
    meant = f"did you mean {close[0]}? " if close else ""
    known = f"the keys are {', '.join(keys)}" if keys else "there are none here yet"
    return f"is no key; {meant}{known}"


def _section_below(key: str) -> type[Section]:
    field = next(f for f in Settings.model_fields.values() if f.alias == key)
    section = section_of(field.annotation)
    assert section is not None, key
    return section


def _path(loc: tuple[int | str, ...]) -> str:
    """The key at *loc*, as `pulumi config set --path` takes it."""
    return "".join(
        f".{part}"
        if isinstance(part, str) and re.fullmatch(r"[\w-]+", part, re.ASCII)
        else f"[{json.dumps(part)}]"
        for part in loc
    ).removeprefix(".")
