"""What a client of the gateway needs, and the command lines of both clients."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab import LabError

FILES = {"ca": "ca.pem", "cert": "cert.pem", "key": "key.pem"}


def write_certificates(outputs: Mapping[str, Any], client: str, directory: Path) -> None:
    """Write ca.pem, cert.pem and key.pem of a client that the stack's configuration names.

    Raises:
        LabError: it names no such client, or makes no client's certificate.
    """
    bundles = outputs.get("clients", {})
    if not bundles:
        raise LabError(
            "the stack makes no client's certificate: buildkit:clients names none, or its "
            "certificates are your own"
        )
    if client not in bundles:
        raise LabError(
            f"CLIENT={client} is not in buildkit:clients; there are {', '.join(sorted(bundles))}"
        )
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for part, name in FILES.items():
        file = directory / name
        file.touch(mode=0o600)
        file.write_text(bundles[client][part])


def buildctl(endpoint: str, certificates: Path, name: str = "") -> list[str]:
    """Buildctl with a client's certificate, ready for a subcommand.

    With a *name* it asks for that server, as if it had dialled it.
    """
    return [
        "buildctl",
        *("--addr", f"tcp://{endpoint}"),
        *("--tlscacert", str(certificates / "ca.pem")),
        *("--tlscert", str(certificates / "cert.pem")),
        *("--tlskey", str(certificates / "key.pem")),
        *(["--tlsservername", name] if name else []),
    ]


def driver_options(certificates: Path) -> str:
    """The driver options of docker buildx's remote driver."""
    return ",".join(
        f"{option}={certificates / name}"
        for option, name in (("cacert", "ca.pem"), ("cert", "cert.pem"), ("key", "key.pem"))
    )
