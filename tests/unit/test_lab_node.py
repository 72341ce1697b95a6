"""The node's configuration: what can be wrong without a node that shows it."""

import ipaddress
import json
from pathlib import Path

import pytest
import tomli_w
import yaml
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from lab import cgroup, cluster, daemons, network, pki
from lab.paths import STATE

MANIFESTS = [
    manifest
    for file in sorted(cluster.MANIFESTS.glob("*.yaml"))
    for manifest in yaml.safe_load_all(file.read_text())
]


def manifest(kind: str, name: str) -> dict:
    """The one object of this kind and name."""
    [found] = [m for m in MANIFESTS if (m["kind"], m["metadata"]["name"]) == (kind, name)]
    return found


@pytest.fixture(scope="session")
def layout(tmp_path_factory: pytest.TempPathFactory) -> daemons.Layout:
    """A directory with certificates and configuration, as `start` leaves it."""
    at = daemons.Layout(Path("/tools"), tmp_path_factory.mktemp("state"))
    pki.create(at.pki)
    daemons.write_configuration(at)
    return at


def test_manifests_use_the_nodes_addresses() -> None:
    registry = manifest("Deployment", "registry")["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "REGISTRY_HTTP_ADDR", "value": network.REGISTRY} in registry["env"]
    assert manifest("Service", "kube-dns")["spec"]["clusterIP"] == network.DNS
    assert f"kubernetes {network.DOMAIN}" in manifest("ConfigMap", "coredns")["data"]["Corefile"]


def test_volumes_are_made_below_the_state_directory() -> None:
    config = json.loads(manifest("ConfigMap", "local-path-config")["data"]["config.json"])
    assert config["nodePathMap"][0]["paths"] == [str(STATE / "volumes")]


def test_install_waits_for_every_deployment() -> None:
    deployments = {
        (m["metadata"]["namespace"], m["metadata"]["name"])
        for m in MANIFESTS
        if m["kind"] == "Deployment"
    }
    assert deployments == set(cluster.DEPLOYMENTS.items())


def test_address_ranges_are_apart_and_hold_their_addresses() -> None:
    ranges = [
        ipaddress.ip_network(given) for given in (network.LINK, network.PODS, network.SERVICES)
    ]
    assert not any(a.overlaps(b) for a in ranges for b in ranges if a is not b)
    assert {network.HOST_ADDRESS, network.ADDRESS} == {str(host) for host in ranges[0].hosts()}
    assert str(next(ranges[2].hosts())) == network.API_SERVICE
    assert ipaddress.ip_address(network.DNS) in ranges[2]


@pytest.mark.parametrize("name", daemons.DAEMONS)
def test_every_file_of_a_command_line_exists(name: str, layout: daemons.Layout) -> None:
    options = daemons.DAEMONS[name](layout)
    files = [Path(str(value)) for value in options.values() if str(layout.state) in str(value)]
    written_by_itself = {"data-dir", "root-dir", "flex-volume-plugin-dir"}
    made_later = {Path(str(options[key])) for key in written_by_itself & options.keys()}
    assert all(file.is_file() for file in set(files) - made_later)


def test_only_the_owner_reads_keys_and_kubeconfigs(layout: daemons.Layout) -> None:
    private = [*layout.pki.glob("*.key"), *layout.config.glob("*.kubeconfig")]
    assert private
    assert {file.stat().st_mode & 0o777 for file in private} == {0o600}


@pytest.mark.parametrize("name", pki.IDENTITIES)
def test_certificates_are_issued_by_their_authority(name: str, layout: daemons.Layout) -> None:
    certificate = x509.load_pem_x509_certificate(Path(layout.crt(name)).read_bytes())
    authority = Path(layout.crt(pki.IDENTITIES[name].authority)).read_bytes()
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority))
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    is_server = ExtendedKeyUsageOID.SERVER_AUTH in usage
    assert is_server == bool(pki.IDENTITIES[name].sans)


def test_certificates_stay_when_they_are_there(layout: daemons.Layout) -> None:
    before = Path(layout.crt("ca")).read_bytes()
    pki.create(layout.pki)
    assert Path(layout.crt("ca")).read_bytes() == before


def test_containerd_has_the_sandbox_image_pinned(layout: daemons.Layout) -> None:
    config = daemons.containerd_config(layout)
    images = config["plugins"]["io.containerd.cri.v1.images"]
    assert images["pinned_images"] == {"sandbox": daemons.PAUSE}
    assert tomli_w.dumps(config)


@pytest.fixture
def version_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree that looks like a machine with one unified hierarchy."""
    monkeypatch.setattr(cgroup, "ROOT", tmp_path)
    for group in (tmp_path, tmp_path / network.NAME):
        group.mkdir(exist_ok=True)
        (group / "cgroup.controllers").write_text("cpu memory\n")
    return tmp_path


def test_on_cgroup_2_controllers_are_passed_on(version_2: Path) -> None:
    assert cgroup.create("kubelet") == [version_2 / network.NAME / "kubelet" / "cgroup.procs"]
    for group in (version_2, version_2 / network.NAME):
        assert (group / "cgroup.subtree_control").read_text() == "+memory"  # the last one written
    assert not (version_2 / network.NAME / "kubelet" / "cgroup.subtree_control").exists()


def test_on_cgroup_1_an_empty_cpuset_inherits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroup, "ROOT", tmp_path)
    group = tmp_path / "cpuset" / network.NAME
    group.mkdir(parents=True)
    (group.parent / "cgroup.procs").touch()
    (group.parent / "cpuset.cpus").write_text("0-1\n")
    (group / "cpuset.cpus").write_text("\n")
    assert cgroup.create("kubelet") == [group / "kubelet" / "cgroup.procs"]
    assert (group / "cpuset.cpus").read_text() == "0-1\n"


def test_process_0_is_never_taken_for_one_of_the_nodes(
    version_2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (version_2 / network.NAME / "cgroup.procs").write_text("0\n4711\n")
    assert cgroup.processes() == {4711}
