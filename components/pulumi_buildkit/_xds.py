"""The files that a running Envoy watches: certificates, who is let in, and who may call what.

Field by field from https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/api.
"""

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any, NamedTuple

from pulumi_buildkit._message import extension, typed
from pulumi_buildkit.certificates import is_address
from pulumi_buildkit.role import RPCS, UPDATE_HISTORY, Role
from pulumi_buildkit.secret_layout import FILES

SERVER_CERTIFICATES = "/certs/server"
"""Mount of the Secret that clients meet, as `FILES`."""
UPSTREAM_CERTIFICATES = "/certs/upstream"
"""Mount of the Secret that buildkitd meets, as `FILES`."""
DIRECTORY = "/etc/envoy/xds"
"""Mount of the ConfigMap with the `documents`."""

SERVER, CLIENTS, GATEWAY, BUILDKITD, ROLES = "server", "clients", "gateway", "buildkitd", "roles"
"""The documents' names."""

TLS = "envoy.extensions.transport_sockets.tls.v3"
RBAC = "envoy.extensions.filters.http.rbac.v3.RBAC"


class Client(NamedTuple):
    """Who is let in."""

    san: str
    """What stands in its certificate: a URI, a DNS name or an IP address."""
    role: Role


def documents(clients: list[Client], upstream_host: str) -> dict[str, dict[str, Any]]:
    """The files of the directory, by name."""
    sans = [client.san for client in clients]
    resources = {
        SERVER: _certificate(SERVER_CERTIFICATES),
        CLIENTS: _validation(SERVER_CERTIFICATES, sans),
        GATEWAY: _certificate(UPSTREAM_CERTIFICATES),
        BUILDKITD: _validation(UPSTREAM_CERTIFICATES, [upstream_host]),
        ROLES: _rights(clients),
    }
    return {
        file(name): {"resources": [{**resource, "name": name}]}
        for name, resource in resources.items()
    }


def file(name: str) -> str:
    """What the file of a document is called."""
    return f"{name}.json"


def source(name: str) -> dict[str, Any]:
    """Where Envoy finds a document, and sees it change."""
    return {
        "resource_api_version": "V3",
        "path_config_source": {
            "path": f"{DIRECTORY}/{file(name)}",
            "watched_directory": {"path": DIRECTORY},
        },
    }


def _certificate(directory: str) -> dict[str, Any]:
    return {
        **typed(f"{TLS}.Secret"),
        "tls_certificate": {
            "certificate_chain": {"filename": f"{directory}/{FILES.cert}"},
            "private_key": {"filename": f"{directory}/{FILES.key}"},
            "watched_directory": {"path": directory},
        },
    }


def _validation(directory: str, sans: Iterable[str]) -> dict[str, Any]:
    return {
        **typed(f"{TLS}.Secret"),
        "validation_context": {
            "trusted_ca": {"filename": f"{directory}/{FILES.ca}"},
            "watched_directory": {"path": directory},
            "match_typed_subject_alt_names": [_san_matcher(san) for san in sans],
        },
    }


def _rights(clients: list[Client]) -> dict[str, Any]:
    """Asked anew with each RPC: a handshake was asked once, when the list was another."""
    sans = {role: [client.san for client in clients if client.role is role] for role in Role}
    policies = {
        role.value: {
            "permissions": [*map(_permission, RPCS[role])],
            "principals": [_principal(san) for san in sans[role]],
        }
        for role in Role
        if sans[role]
    }
    return {
        **typed("envoy.config.core.v3.TypedExtensionConfig"),
        "typed_config": {**typed(RBAC), "rules": {"action": "ALLOW", "policies": policies}},
    }


def _permission(path: str) -> dict[str, Any]:
    call = {"url_path": {"path": {"prefix" if path.endswith("/") else "exact": path}}}
    return {"and_rules": {"rules": [call, _FINALIZES]}} if path == UPDATE_HISTORY else call


# Dynamic metadata, which only filters can write: finalize.lua does.
_FINALIZES = {
    "sourced_metadata": {
        "metadata_matcher": {
            "filter": "buildkit",
            "path": [{"key": "finalize"}],
            "value": {"bool_match": True},
        }
    }
}


def _principal(san: str) -> dict[str, Any]:
    authenticated = extension(
        "envoy.rbac.principals.mtls_authenticated",
        "envoy.extensions.rbac.principals.mtls_authenticated.v3.Config",
        san_matcher=_san_matcher(san),
    )
    return {"custom": authenticated}


def _san_matcher(san: str) -> dict[str, Any]:
    if is_address(san):
        # Envoy compares the text, which has no leading zeros.
        return {"san_type": "IP_ADDRESS", "matcher": {"exact": str(ip_address(san))}}
    return {"san_type": "URI" if ":" in san else "DNS", "matcher": {"exact": san}}
