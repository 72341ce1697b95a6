"""A CA, a server's certificate and its clients' certificates, as Secrets and as outputs."""

import base64
import ipaddress
from collections.abc import Mapping, Sequence
from typing import NamedTuple, NotRequired, TypedDict, cast

import pulumi
import pulumi_kubernetes as k8s
import pulumi_tls as tls

from pulumi_buildkit._options import reaching_children
from pulumi_buildkit.metadata import labels, metadata
from pulumi_buildkit.secret_layout import FILES, LAYOUTS, Layout, SecretLayout, ServerKeys

AUTHORITY = "ca"
"""What the CA is called when nobody says."""

# The server's resources are called so, and what is left are its Secrets.
RESERVED_NAMES = frozenset(
    {
        "server",
        *(
            layout.suffix.removesuffix("-certs")
            for layout in LAYOUTS.values()
            if layout.suffix.endswith("-certs")
        ),
    }
)
"""Names that no CA and no client may have."""

_ALGORITHM = "ECDSA"
# The provider's own default is P224, which Go's TLS refuses.
_CURVE = "P256"


class ClientBundle(TypedDict):
    """What a client presents and trusts, as PEM; the values are secret."""

    ca: pulumi.Output[str]
    """The CA's certificate."""
    cert: pulumi.Output[str]
    """The client's certificate."""
    key: pulumi.Output[str]
    """The client's private key."""


class CertificatesArgs(TypedDict):
    """Arguments of `Certificates`."""

    namespace: pulumi.Input[str]
    """Namespace of the Secrets."""
    sans: pulumi.Input[list[pulumi.Input[str]]]
    """Names and addresses that clients dial: the server certificate's subject alternative names."""
    clients: list[str]
    """A certificate is made for each of these names, with the URI of `client_uri` in it; there may
    be none. The names of the CAs and of the server's own parts are refused: server, daemon,
    envoy."""
    client_namespaces: NotRequired[dict[str, pulumi.Input[str]]]
    """Namespace of a client's Secret, by client. Default: that of the others."""
    server_secret_layouts: NotRequired[list[str]]
    """A Secret with the server's certificate is made for each of these values of `SecretLayout`:
    daemon (`NAME-daemon-certs`), envoy (`NAME-envoy-certs`), combined (`NAME-secrets`, with the
    first client's certificate) and tls (`NAME-tls`). Default: daemon."""
    validity_hours: NotRequired[int]
    """How long server and client certificates are valid, in hours. Default: 8760 (a year)."""
    early_renewal_hours: NotRequired[int]
    """An update renews a certificate this many hours before it ends. Default: 720 (30 days)."""
    ca_validity_hours: NotRequired[int]
    """How long a CA is valid, in hours. An update renews it, with the same key, before it could end
    earlier than what it signs. Default: 87600 (ten years)."""
    authorities: NotRequired[list[str]]
    """Names of the CAs, from the oldest to the newest. All are trusted; the first signs the
    server's certificate, the last the clients'. So a change of CA loses no client: add a name, hand
    out the clients' new certificates, take the old name away. Default: ca."""


def client_uri(client: str) -> str:
    """The URI in the certificate of *client*, by which a server knows it."""
    return f"spiffe://buildkit/client/{client}"


def is_address(san: str) -> bool:
    """Whether *san* is an IP address, and so no DNS name."""
    try:
        ipaddress.ip_address(san)
    except ValueError:
        return False
    # With a zone, as in fe80::1%eth0, it is one machine's own affair.
    return "%" not in san


def _base64(pem: pulumi.Output[str]) -> pulumi.Output[str]:
    return pem.apply(lambda text: base64.b64encode(text.encode()).decode())


def _files(keys: ServerKeys, bundle: ClientBundle) -> dict[str, pulumi.Output[str]]:
    return {keys.ca: bundle["ca"], keys.cert: bundle["cert"], keys.key: bundle["key"]}


def _resolved(names: dict[str, pulumi.Output[str]]) -> pulumi.Output[dict[str, str]]:
    # The values are resolved, too, which the type of from_input doesn't say.
    return cast("pulumi.Output[dict[str, str]]", pulumi.Output.from_input(names))


class _Authority(NamedTuple):
    """A CA that signs."""

    cert_pem: pulumi.Output[str]
    key_pem: pulumi.Output[str]


class Certificates(pulumi.ComponentResource):
    """What upstream's `create-certs.sh` makes, with a certificate of its own for every client.

    The Secrets have stable names and change in place, so that a renewal restarts nothing:
    set `kubernetes:enableSecretMutable` in the stack's config, or the provider's option of that
    name, or a renewal deletes each Secret before it makes it anew.
    """

    ca_pem: pulumi.Output[str]
    """The certificates of all CAs."""
    server_secrets: pulumi.Output[dict[str, str]]
    """Name of each Secret with the server's certificate, by layout."""
    client_secrets: pulumi.Output[dict[str, str]]
    """Name of each client's Secret (ca.pem, cert.pem, key.pem), by client."""
    bundles: pulumi.Output[dict[str, ClientBundle]]
    """Each client's PEM files, by client. Secret."""
    valid_until: pulumi.Output[dict[str, str]]
    """When each certificate ends, in RFC 3339, by the name of its CA or client, or `server`."""

    def __init__(
        self, name: str, args: CertificatesArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Make the certificates and their Secrets."""
        super().__init__("buildkit:index:Certificates", name, {}, reaching_children(opts))
        self._name = name
        self._namespace = args["namespace"]
        self._validity = int(args.get("validity_hours", 8760))
        self._early_renewal = int(args.get("early_renewal_hours", 720))
        layouts = list(dict.fromkeys(args.get("server_secret_layouts", [SecretLayout.DAEMON])))
        authorities = args.get("authorities", [AUTHORITY])
        ca_validity = int(args.get("ca_validity_hours", 87600))
        self._check(args["clients"], layouts, authorities, ca_validity)

        self._valid_until: dict[str, pulumi.Output[str]] = {}
        made = [self._authority(authority, ca_validity) for authority in authorities]
        self.ca_pem = pulumi.Output.all(*(authority.cert_pem for authority in made)).apply("".join)

        # The elements are resolved, too, which the type of from_input doesn't say.
        sans = cast("pulumi.Output[list[str]]", pulumi.Output.from_input(args["sans"])).apply(
            lambda names: list(dict.fromkeys(names))
        )
        server = self._issue(
            "server",
            made[0],
            common_name=f"{name} server",
            usage="server_auth",
            dns_names=sans.apply(lambda names: [san for san in names if not is_address(san)]),
            ip_addresses=sans.apply(lambda names: [san for san in names if is_address(san)]),
        )
        clients = {client: self._client(client, made[-1]) for client in args["clients"]}
        self.server_secrets = _resolved(
            {
                layout.value: self._server_secret(LAYOUTS[layout], server, [*clients.values()])
                for layout in map(SecretLayout, layouts)
            }
        )
        self.client_secrets = _resolved(
            {
                client: self._secret(
                    f"{client}-certs",
                    _files(FILES, bundle),
                    namespace=args.get("client_namespaces", {}).get(client),
                )
                for client, bundle in clients.items()
            }
        )
        self.bundles = pulumi.Output.secret(clients)
        self.valid_until = _resolved(self._valid_until)
        self.register_outputs(
            {
                "caPem": self.ca_pem,
                "serverSecrets": self.server_secrets,
                "clientSecrets": self.client_secrets,
                "bundles": self.bundles,
                "validUntil": self.valid_until,
            }
        )

    def _check(
        self, clients: list[str], layouts: list[str], authorities: list[str], ca_validity: int
    ) -> None:
        known = [layout.value for layout in SecretLayout]
        for layout in (layout for layout in layouts if layout not in known):
            raise ValueError(
                f"{self._name}: server_secret_layouts: {layout} is none; take some of "
                f"{', '.join(known)}"
            )
        if SecretLayout.COMBINED in layouts and not clients:
            raise ValueError(
                f"{self._name}: server_secret_layouts: combined holds the first client's "
                "certificate, and there are no clients; name one, or take another layout"
            )
        if not authorities:
            raise ValueError(f"{self._name}: authorities: there are none; name at least one CA")
        names = [*RESERVED_NAMES, *authorities, *clients]
        for name in {name for name in names if names.count(name) > 1}:
            raise ValueError(
                f"{self._name}: {name} is the name of two: of a CA, a client, or a part of the "
                "server's; give each another"
            )
        if self._early_renewal >= self._validity:
            # Every update would renew it.
            raise ValueError(
                f"{self._name}: early_renewal_hours: {self._early_renewal} is not less than "
                f"validity_hours, {self._validity}; take fewer hours"
            )
        least = self._validity + self._early_renewal
        if ca_validity <= least:
            # As before; and it would end before what it signs.
            raise ValueError(
                f"{self._name}: ca_validity_hours: {ca_validity} is no more than validity_hours "
                f"and early_renewal_hours together, {least}; take more hours"
            )

    def _private_key(self, name: str) -> tls.PrivateKey:
        return tls.PrivateKey(
            f"{name}-key",
            algorithm=_ALGORITHM,
            ecdsa_curve=_CURVE,
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _authority(self, authority: str, validity_hours: int) -> _Authority:
        name = f"{self._name}-{authority}"
        key = self._private_key(name)
        certificate = tls.SelfSignedCert(
            name,
            private_key_pem=key.private_key_pem,
            is_ca_certificate=True,
            set_subject_key_id=True,
            subject=tls.SelfSignedCertSubjectArgs(common_name=f"{self._name} {authority.upper()}"),
            validity_period_hours=validity_hours,
            # Else it could end before what it signs.
            early_renewal_hours=self._validity + self._early_renewal,
            allowed_uses=["cert_signing", "crl_signing", "digital_signature"],
            opts=pulumi.ResourceOptions(parent=self),
        )
        self._valid_until[authority] = certificate.validity_end_time
        return _Authority(certificate.cert_pem, key.private_key_pem)

    def _client(self, client: str, authority: _Authority) -> ClientBundle:
        return self._issue(
            client,
            authority,
            common_name=client,
            usage="client_auth",
            uris=[client_uri(client)],
        )

    def _issue(
        self,
        to: str,
        authority: _Authority,
        common_name: str,
        usage: str,
        dns_names: pulumi.Input[list[str]] | None = None,
        ip_addresses: pulumi.Input[list[str]] | None = None,
        uris: list[str] | None = None,
    ) -> ClientBundle:
        child = pulumi.ResourceOptions(parent=self)
        name = f"{self._name}-{to}"
        key = self._private_key(name)
        request = tls.CertRequest(
            f"{name}-request",
            private_key_pem=key.private_key_pem,
            subject=tls.CertRequestSubjectArgs(common_name=common_name),
            dns_names=dns_names,
            ip_addresses=ip_addresses,
            uris=uris,
            opts=child,
        )
        certificate = tls.LocallySignedCert(
            name,
            ca_cert_pem=authority.cert_pem,
            ca_private_key_pem=authority.key_pem,
            cert_request_pem=request.cert_request_pem,
            validity_period_hours=self._validity,
            early_renewal_hours=self._early_renewal,
            set_subject_key_id=True,
            allowed_uses=["digital_signature", usage],
            opts=child,
        )
        self._valid_until[to] = certificate.validity_end_time
        return {"ca": self.ca_pem, "cert": certificate.cert_pem, "key": key.private_key_pem}

    def _server_secret(
        self, layout: Layout, server: ClientBundle, clients: Sequence[ClientBundle]
    ) -> pulumi.Output[str]:
        data = _files(layout.keys, server)
        if layout.client_keys:
            data |= zip(layout.client_keys, (clients[0]["cert"], clients[0]["key"]), strict=True)
        return self._secret(layout.suffix, data, layout.type)

    def _secret(
        self,
        suffix: str,
        pems: Mapping[str, pulumi.Output[str]],
        secret_type: str = "Opaque",
        namespace: pulumi.Input[str] | None = None,
    ) -> pulumi.Output[str]:
        name = f"{self._name}-{suffix}"
        secret = k8s.core.v1.Secret(
            name,
            metadata=metadata(
                name, namespace or self._namespace, labels(self._name, "certificates")
            ),
            type=secret_type,
            data={key: _base64(pem) for key, pem in pems.items()},
            opts=pulumi.ResourceOptions(parent=self),
        )
        return secret.metadata.name.apply(str)
