"""How a Secret holds a server's certificate."""

from enum import Enum
from typing import NamedTuple


class SecretLayout(str, Enum):
    """The keys under which a Secret holds the CA, the server's certificate and its key."""

    DAEMON = "daemon"
    """ca.pem, cert.pem, key.pem: what buildkitd mounts in upstream's Deployment."""
    ENVOY = "envoy"
    """ca.pem, server.pem, server-key.pem: for an Envoy in front of buildkitd."""
    COMBINED = "combined"
    """ca.crt, server.crt, server.key, and a client's client.crt and client.key."""
    TLS = "tls"
    """ca.crt, tls.crt, tls.key: type kubernetes.io/tls, as cert-manager writes it."""


class ServerKeys(NamedTuple):
    """The names of a server's PEM files."""

    ca: str
    cert: str
    key: str


class Layout(NamedTuple):
    """What a Secret of one layout looks like."""

    suffix: str
    """What follows the name of the component in the Secret's."""
    keys: ServerKeys
    client_keys: tuple[str, ...] = ()
    """Of a client's certificate and key, where it holds them too."""
    type: str = "Opaque"


LAYOUTS = {
    SecretLayout.DAEMON: Layout("daemon-certs", ServerKeys("ca.pem", "cert.pem", "key.pem")),
    SecretLayout.ENVOY: Layout("envoy-certs", ServerKeys("ca.pem", "server.pem", "server-key.pem")),
    SecretLayout.COMBINED: Layout(
        "secrets",
        ServerKeys("ca.crt", "server.crt", "server.key"),
        client_keys=("client.crt", "client.key"),
    ),
    SecretLayout.TLS: Layout(
        "tls", ServerKeys("ca.crt", "tls.crt", "tls.key"), type="kubernetes.io/tls"
    ),
}

FILES = LAYOUTS[SecretLayout.DAEMON].keys
"""What a client's Secret calls them; and, whatever the layout, what a pod calls what it mounts."""
