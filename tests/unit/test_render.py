"""What `make render` writes, from one rendering to the next."""

import base64
import itertools
import json
import re
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from cryptography import x509

from render import __main__ as command
from render import configuration, tls
from render.configuration import Configuration
from tests.golden.manifests import CASES, SECRET, Case, Object, keys, rendered
from tests.golden.schema import validate
from tests.own_certificate import own_certificate
from tests.private_keys import found, private_keys
from tests.recording import AUTO_NAME, REPO

NAMESPACE = "builds"


def make_project(directory: Path) -> None:
    """A project with this program, and a stack."""
    (directory / "__main__.py").symlink_to(REPO / "__main__.py")
    configure(directory)


def configure(project: Path = Path(), stack: str = "dev", **changed: Any) -> None:
    """Write a stack's file: the dev stack's, with a namespace, and with *changed* keys."""
    dev = yaml.safe_load((REPO / "Pulumi.dev.yaml").read_text())["config"]
    keys = {"namespace": NAMESPACE, **changed}
    config = {**dev, **{f"buildkit:{key}": value for key, value in keys.items()}}
    (project / f"Pulumi.{stack}.yaml").write_text(yaml.safe_dump({"config": config}))


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is the current directory, as it is for `make`."""
    make_project(tmp_path)
    monkeypatch.chdir(tmp_path)


Render = Callable[..., str]


@pytest.fixture
def render(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Render:
    """Render as `make render` does; what it says."""

    def rendered(stack: str = "dev", into: str = "out", secrets: bool = False) -> str:
        options = ["--stack", stack, "--directory", into, *(["--secrets"] if secrets else [])]
        monkeypatch.setattr(sys, "argv", ["render", *options])
        command.main()
        return capsys.readouterr().out

    return rendered


def refusal(render: Render, **given: Any) -> str:
    with pytest.raises(SystemExit) as refused:
        render(**given)
    return str(refused.value)


def contents(directory: str = "out") -> dict[str, bytes]:
    """Every file below a directory, by its path there."""
    files = (file for file in sorted(Path(directory).rglob("*")) if file.is_file())
    return {str(file.relative_to(directory)): file.read_bytes() for file in files}


def public() -> dict[str, bytes]:
    return {path: text for path, text in contents().items() if not path.startswith("secrets/")}


def objects(*directories: str | Path) -> list[Object]:
    """What kubectl would apply of *directories*, in its order."""
    files = [file for each in directories for file in sorted(Path(each).glob("*.yaml"))]
    return [yaml.safe_load(file.read_text()) for file in files]


def one(kind: str, name: str, directory: str = "out") -> Object:
    """The object of that kind whose name begins with *name*."""
    (found,) = (
        o
        for o in objects(directory)
        if o["kind"] == kind and o["metadata"]["name"].startswith(name)
    )
    return found


def as_rendered(golden: list[Object], here: list[Object]) -> Iterator[Object]:
    """The *golden* objects with nothing for Pulumi, and auto-named ones named as *here*."""
    text = json.dumps(golden)
    for each in here:
        if named := re.fullmatch(r"(.+)-[0-9a-f]{8}", each["metadata"]["name"]):
            text = text.replace(f"{named[1]}{AUTO_NAME}", named[0])
    for each in json.loads(text):
        annotations = each["metadata"].pop("annotations", {})
        if rest := {k: v for k, v in annotations.items() if not k.startswith("pulumi.com/")}:
            each["metadata"]["annotations"] = rest
        if not each["metadata"]["name"].startswith("buildkitd-proof"):
            yield each


def without_data(of: Object) -> Object:
    return {**of, "data": dict.fromkeys(of["data"], SECRET)} if of["kind"] == "Secret" else of


def in_order(of: Iterator[Object] | list[Object]) -> list[Object]:
    return sorted(of, key=lambda each: (each["kind"], each["metadata"]["name"]))


class Rendered(NamedTuple):
    """The manifests of a case."""

    case: Case
    into: Path


@pytest.fixture(scope="module", params=CASES, ids=str)
def of_case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    project = tmp_path_factory.mktemp("case")
    make_project(project)
    configure(project, **keys(request.param))
    command.render(project, "dev", project / "out", with_secrets=True)
    return Rendered(request.param, project / "out")


def test_what_is_rendered_is_what_an_update_applies(of_case: Rendered) -> None:
    here = objects(of_case.into, of_case.into / "secrets")
    for each in here:
        validate(each)
    expected = in_order(as_rendered(rendered(of_case.case), here))
    assert [*map(without_data, in_order(here))] == expected


def test_what_is_needed_comes_first_and_the_kustomization_has_all(of_case: Rendered) -> None:
    files = sorted(file.name for file in of_case.into.glob("*.yaml"))
    kustomization = yaml.safe_load((of_case.into / "Kustomization").read_text())
    assert kustomization["resources"] == files
    namespace, *kinds = (each["kind"] for each in objects(of_case.into))
    assert namespace == "Namespace"
    needed = {"ConfigMap", "NetworkPolicy", "PersistentVolumeClaim", "Service"}
    assert not needed.intersection(itertools.dropwhile(needed.__contains__, kinds))


def test_nothing_is_said_to_pulumi_alone(render: Render) -> None:
    render(secrets=True)
    assert not [path for path, text in contents().items() if b"pulumi.com" in text]


def test_rendering_again_changes_no_byte(render: Render) -> None:
    render()
    without = contents()
    render()
    assert contents() == without
    render(secrets=True)
    assert public() == without
    with_secrets = contents()
    render(secrets=True)
    assert contents() == with_secrets
    render()
    assert contents() == with_secrets


def test_a_secret_of_the_configuration_is_in_no_file_unless_asked_for(
    render: Render, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = own_certificate("build.example.com")
    secret = {
        "certificates": {"ca": own.cert, "cert": own.cert, "key": own.key},
        "buildkitd": {"dns": {"nameservers": ["192.0.2.53"]}},
        "pod": {
            "spec": {
                "containers": [{"name": "buildkitd", "env": [{"name": "X", "value": "hush-hush"}]}]
            }
        },
    }
    configure(gateway={"host": "build.example.com"})
    values = {
        **configuration.read(Path(), "dev").values,
        **{f"buildkit:{key}": json.dumps(value) for key, value in secret.items()},
    }
    encrypted = frozenset(f"buildkit:{key}" for key in secret)
    monkeypatch.setattr(configuration, "read", lambda *_: Configuration(values, encrypted))
    texts = [own.key.splitlines()[1], "192.0.2.53", "hush-hush"]
    texts += [base64.b64encode(text.encode()).decode()[:-4] for text in (own.key, "hush-hush")]

    said = render()
    for text in texts:
        assert not [path for path, found in contents().items() if text.encode() in found]
        assert text not in said
    for kind, name in (
        ("Secret", "buildkit-own-certs"),
        ("ConfigMap", "buildkitd-config-"),
        ("Deployment", "buildkitd"),
    ):
        assert re.search(rf"\b{kind} +{name}", said)

    render(secrets=True)
    assert not [
        path for path, found in public().items() for text in texts if text.encode() in found
    ]
    assert one("Secret", "buildkit-own-certs", "out/secrets")["stringData"]["key.pem"] == own.key
    assert "192.0.2.53" in json.dumps(one("ConfigMap", "buildkitd-config-", "out/secrets"))
    assert "hush-hush" in json.dumps(one("Deployment", "buildkitd", "out/secrets"))


def test_by_default_no_key_is_made_at_all(render: Render) -> None:
    said = render()
    assert not Path("out/secrets").exists()
    assert not [path for path, text in contents().items() if b"PRIVATE" in text]
    for name, has in (
        ("buildkit-dev-certs", "ca.pem, cert.pem, key.pem"),
        ("buildkit-envoy-certs", "ca.pem, server-key.pem, server.pem"),
        ("buildkitd-daemon-certs", "ca.pem, cert.pem, key.pem"),
        ("buildkitd-gateway-certs", "ca.pem, cert.pem, key.pem"),
    ):
        assert re.search(rf"{NAMESPACE} +Secret +{name} +Opaque +{has} +SECRETS=1", said)
        assert f"| {name} | Opaque | {has} | SECRETS=1 |" in Path("out/README.md").read_text()


def test_a_secret_that_somebody_else_makes_is_named_with_the_keys_that_are_read(
    render: Render,
) -> None:
    configure(
        certificates={"existingSecret": "mine", "layout": "tls"},
        pod={"spec": {"imagePullSecrets": [{"name": "pull"}]}},
    )
    said = render()
    assert re.search(r" Secret +mine +- +ca.crt, tls.crt, tls.key +you\n", said)
    assert re.search(r" Secret +pull +- +.dockerconfigjson +you\n", said)
    configure(
        mode="job",
        gateway={},
        job={
            "files": {"Dockerfile": "FROM scratch\n"},
            "registryCredentials": "registry",
            "secrets": {"token": {"secret": "tokens", "key": "git"}},
        },
    )
    said = render()
    assert re.search(r" Secret +registry +- +.dockerconfigjson +you\n", said)
    assert re.search(r" Secret +tokens +- +git +you\n", said)


def test_keys_are_in_the_directory_of_secrets_and_nowhere_else(render: Render) -> None:
    said = {"what it says": render(secrets=True)}
    texts = {**said, **{path: text.decode() for path, text in contents().items()}}
    keys = private_keys("\n".join(texts.values()))
    # Those of two CAs, and of the server, buildkitd, the gateway and the client.
    assert len(keys) == 6
    assert all(path.startswith("secrets/") for path in found(keys, texts))


def test_only_the_owner_reads_secrets_and_git_takes_none(render: Render) -> None:
    render(secrets=True)
    private = [Path("out/secrets"), *Path("out/secrets").rglob("*")]
    assert {stat.S_IMODE(p.stat().st_mode) for p in private if p.is_file()} == {0o600}
    assert stat.S_IMODE(private[0].stat().st_mode) == 0o700
    subprocess.run(["git", "init", "--quiet"], check=True)
    subprocess.run(["git", "add", "out"], check=True)
    listed = subprocess.run(["git", "ls-files"], check=True, capture_output=True, text=True).stdout
    assert {*listed.split()} == {f"out/{path}" for path in public()}


def test_a_changed_configuration_rolls_the_pods_and_names_the_same_files(render: Render) -> None:
    render()
    before, files = one("Deployment", "buildkitd"), {*contents()}
    configure(maxParallelism=3)
    render()
    after = one("Deployment", "buildkitd")
    assert before["spec"]["template"] != after["spec"]["template"]
    assert one("ConfigMap", "buildkitd-config-")["metadata"]["name"] in json.dumps(after)
    assert {*contents()} == files


def test_another_client_changes_what_the_running_gateway_reads_and_no_pod(render: Render) -> None:
    render()
    before = contents()
    configure(clients={"dev": {}, "ci": {}})
    render()
    after = contents()
    assert {*after} == {*before}
    assert {path for path in after if after[path] != before[path]} == {
        "10-configmap-buildkit-gateway-xds.yaml",
        "README.md",
    }
    assert one("ConfigMap", "buildkit-gateway-xds")["metadata"]["name"] == "buildkit-gateway-xds"


def test_what_is_no_longer_there_has_no_file(render: Render) -> None:
    configure(clients={"dev": {}, "ci": {}})
    render(secrets=True)
    assert Path("out/secrets/10-secret-buildkit-ci-certs.yaml").exists()
    configure(clients={"dev": {}}, gateway={"enabled": False})
    render(secrets=True)
    assert not Path("out/secrets/10-secret-buildkit-ci-certs.yaml").exists()
    assert not [path for path in contents() if "gateway" in path and "keys/" not in path]


# Certificates


def certificate(name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(Path(f"out/secrets/keys/{name}.pem").read_bytes())


def serials() -> dict[str, int]:
    files = [f for f in Path("out/secrets/keys").glob("*.pem") if not f.stem.endswith("-key")]
    return {file.stem: certificate(file.stem).serial_number for file in files}


def test_a_client_s_files_are_of_the_ca_that_the_gateway_trusts(render: Render) -> None:
    assert "out/secrets/clients/NAME" in render(secrets=True)
    trusted = one("Secret", "buildkit-envoy-certs", "out/secrets")["data"]["ca.pem"]
    ca, cert, key = (
        Path(f"out/secrets/clients/dev/{part}.pem").read_bytes() for part in ("ca", "cert", "key")
    )
    assert base64.b64decode(trusted) == ca
    client = x509.load_pem_x509_certificate(cert)
    client.verify_directly_issued_by(x509.load_pem_x509_certificate(ca))
    secret = one("Secret", "buildkit-dev-certs", "out/secrets")["data"]
    assert [base64.b64decode(secret[f"{p}.pem"]) for p in ("ca", "cert", "key")] == [ca, cert, key]


def test_another_name_of_the_server_is_another_certificate_of_the_server_only(
    render: Render,
) -> None:
    render(secrets=True)
    before = serials()
    configure(certificates={"sans": ["other.example.com"]})
    assert "New certificates: buildkit-server.\n" in render(secrets=True)
    after = serials()
    assert {name for name in after if after[name] != before[name]} == {"buildkit-server"}
    names = certificate("buildkit-server").extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert "other.example.com" in names.value.get_values_for_type(x509.DNSName)


class InElevenMonths(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:
        return datetime.now(tz) + timedelta(days=340)


def test_what_ends_within_a_month_is_renewed_under_the_same_ca(
    render: Render, monkeypatch: pytest.MonkeyPatch
) -> None:
    render(secrets=True)
    before, key = serials(), Path("out/secrets/keys/buildkit-dev-key.pem").read_bytes()
    monkeypatch.setattr(tls, "datetime", InElevenMonths)
    said = render(secrets=True)
    assert "New certificates: buildkit-dev, buildkit-server.\n" in said
    assert {name for name, serial in serials().items() if serial != before[name]} == {
        "buildkit-dev",
        "buildkit-server",
    }
    certificate("buildkit-dev").verify_directly_issued_by(certificate("buildkit-ca"))
    assert Path("out/secrets/keys/buildkit-dev-key.pem").read_bytes() == key


# What it refuses


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"stack": "nope"}, "STACK=nope has no file Pulumi.nope.yaml; take one of dev"),
        ({"stack": ""}, "STACK is missing; take one of dev"),
        ({"into": ""}, "DIR is missing; name the directory to write to: DIR=manifests"),
        ({"into": "__main__.py"}, "DIR=__main__.py is no directory; name another one"),
        (
            {"into": "."},
            "DIR=. has files that are not of the stack dev (Pulumi.dev.yaml, __main__.py); name an "
            "empty directory, or a new one",
        ),
    ],
)
def test_what_is_given_wrongly_is_said_in_one_line(
    render: Render, given: dict[str, Any], line: str
) -> None:
    assert refusal(render, **given) == f"render: {line}"


def test_a_directory_of_another_stack_is_left_alone(render: Render) -> None:
    configure(stack="other")
    render("other", secrets=True)
    before = contents()
    assert "has files that are not of the stack dev (00-namespace-builds.yaml, " in refusal(render)
    assert contents() == before


def test_a_directory_of_somebody_s_secrets_is_left_alone(render: Render) -> None:
    render()
    Path("out/secrets").mkdir()
    assert "(secrets)" in refusal(render)


def test_without_a_namespace_there_is_nothing_to_render(render: Render) -> None:
    configure(namespace="x")
    file = Path("Pulumi.dev.yaml")
    file.write_text(file.read_text().replace("buildkit:namespace: x", ""))
    assert refusal(render).startswith("render: buildkit:namespace: is missing, and ")
    assert not Path("out").exists()


def test_mistakes_in_the_configuration_are_said_as_an_update_says_them(render: Render) -> None:
    configure(modes="pod", replicas=-1)
    lines = refusal(render, secrets=True).splitlines()
    assert lines[0] == "render: the stack's configuration can't be used:"
    assert [line.split(":")[2] for line in lines[1:]] == ["replicas", "modes"]
    assert not Path("out").exists()


def test_a_stack_s_file_that_is_none_is_said_in_one_line(render: Render) -> None:
    for text in ("config: [", "- a list", "config: text", "\udcff"):
        Path("Pulumi.dev.yaml").write_bytes(text.encode(errors="surrogateescape"))
        assert re.fullmatch(
            r"render: .*Pulumi.dev.yaml is no stack's file \(.*\).*", refusal(render)
        )


def test_a_key_that_can_t_be_read_is_not_replaced_silently(render: Render) -> None:
    render(secrets=True)
    for name, what in (("buildkit-ca-key", "private key"), ("buildkit-ca", "certificate")):
        file = Path(f"out/secrets/keys/{name}.pem")
        before = file.read_text()
        file.write_text("broken")
        assert refusal(render, secrets=True) == (
            f"render: {file} is no {what} in PEM; put back what it was, or delete it to have "
            "another"
        )
        file.write_text(before)


def test_what_is_encrypted_is_asked_of_pulumi(
    render: Render, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(maxParallelism={"secure": "v1:x"})
    monkeypatch.setenv("PATH", str(tmp_path))
    assert refusal(render) == (
        "render: buildkit:maxParallelism: is encrypted, and Pulumi does not read it (its CLI is "
        "not on the PATH); have `pulumi config --show-secrets --stack dev` work here"
    )
    pulumi = tmp_path / "pulumi"
    pulumi.write_text(
        "#!/bin/sh\necho 'error: incorrect passphrase' >&2\necho more >&2\nexit 255\n"
    )
    pulumi.chmod(0o755)
    assert "does not read it (incorrect passphrase); " in refusal(render)


def test_what_only_a_cluster_can_tell_is_said_to_be_open(
    render: Render, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(volume={"kind": "claim"})
    sys.argv = ["render", "--stack", "dev", "--directory", "out"]
    command.main()
    said = capsys.readouterr().err
    assert said.startswith("not checked against the cluster: ")
    assert "volume.storageClass" in said


def test_a_port_that_kubernetes_chooses_has_no_number_yet(render: Render) -> None:
    configure(gateway={"service": "NodePort", "host": "192.0.2.1"})
    assert "Clients dial 192.0.2.1:NODE_PORT." in render()
    (port,) = one("Service", "buildkit-gateway")["spec"]["ports"]
    assert "nodePort" not in port
