"""This project's own certificates: a CA, and what it signs, as Secrets."""

import pulumi
import pulumi_kubernetes as k8s
import pulumi_tls as tls

YEAR = 365 * 24


class Authority:
    """A CA of this project."""

    def __init__(
        self,
        name: str,
        years: int,
        namespace: pulumi.Input[str],
        in_cluster: pulumi.ResourceOptions,
    ) -> None:
        """Make the CA; what it signs is valid for *years*, its Secrets are in the *namespace*."""
        self._hours = years * YEAR
        self._namespace = namespace
        self._in_cluster = in_cluster
        self._key = tls.PrivateKey(name, algorithm="ECDSA", ecdsa_curve="P256")
        self._certificate = tls.SelfSignedCert(
            name,
            private_key_pem=self._key.private_key_pem,
            is_ca_certificate=True,
            subject=tls.SelfSignedCertSubjectArgs(common_name=f"{name} CA"),
            validity_period_hours=2 * self._hours,
            allowed_uses=["cert_signing"],
        )

    def sign(self, name: str, *dns_names: pulumi.Input[str]) -> dict[str, pulumi.Output[str]]:
        """Make a certificate: itself, its key, and the CA that it is known by."""
        key = tls.PrivateKey(name, algorithm="ECDSA", ecdsa_curve="P256")
        request = tls.CertRequest(
            name,
            private_key_pem=key.private_key_pem,
            subject=tls.CertRequestSubjectArgs(common_name=name),
            dns_names=[*dns_names],
        )
        certificate = tls.LocallySignedCert(
            name,
            ca_cert_pem=self._certificate.cert_pem,
            ca_private_key_pem=self._key.private_key_pem,
            cert_request_pem=request.cert_request_pem,
            validity_period_hours=self._hours,
            allowed_uses=["digital_signature", "server_auth", "client_auth"],
        )
        return {
            "ca": self._certificate.cert_pem,
            "cert": certificate.cert_pem,
            "key": key.private_key_pem,
        }

    def secret(self, name: str, *dns_names: pulumi.Input[str]) -> pulumi.Output[str]:
        """Make a certificate, and a Secret with it; its name."""
        pems = self.sign(name, *dns_names)
        secret = k8s.core.v1.Secret(
            name,
            metadata=k8s.meta.v1.ObjectMetaArgs(name=name, namespace=self._namespace),
            string_data={f"{file}.pem": pem for file, pem in pems.items()},
            opts=self._in_cluster,
        )
        return secret.metadata.name.apply(str)
