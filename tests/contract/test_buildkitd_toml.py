"""buildkitd.toml: what follows from the arguments, and what is laid over it."""

import re
from collections.abc import Callable
from typing import Any

import pulumi
import pytest
from pulumi_buildkit import DaemonArgs

from tests.contract.workloads import CLAIM, EACH, EMPTY_DIR, NO_PORT, Workload, make

GIB = 1024**3
CA = "-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n"


Daemon = DaemonArgs | Callable[[], DaemonArgs]


def pod(daemon: Daemon | None = None, **volume: Any) -> Workload:
    return make("Pod", daemon=daemon or {}, volume=volume, **NO_PORT)


def worker(daemon: Daemon | None = None, **volume: Any) -> dict[str, Any]:
    """What is said of the worker."""
    return pod(daemon, **volume).config.get("worker", {}).get("oci", {})


def files(made: Workload) -> dict[str, str]:
    """What buildkitd finds in its directory, by path."""
    directory = "/etc/buildkit"
    assert made.mounts()[directory]["configMap"]["name"].startswith("buildkitd-config")
    data = made.recording.one("ConfigMap").inputs["data"]
    return {f"{directory}/{key}": text for key, text in data.items()}


def test_what_nobody_says_is_left_to_buildkitd() -> None:
    assert pod().config == {}


# Registries


def test_a_registry_s_mirrors_and_how_to_talk_to_it_are_in_it() -> None:
    registries: Any = {
        "docker.io": {"mirrors": ["mirror:5000"]},
        "mirror:5000": {"http": True, "insecure": True},
    }
    assert pod({"registries": registries}).config == {"registry": registries}


@pytest.mark.parametrize("host", ["r.example.com", "r.example.com:5000", "[fd00::1]:5000"])
def test_a_registry_s_ca_is_a_file_that_buildkitd_finds(host: str) -> None:
    made = pod({"registries": {host: {"ca": CA, "http": False}}})
    registry = made.config["registry"][host]
    (path,) = registry.pop("ca")
    assert files(made)[path] == CA
    assert registry == {"http": False}


def test_a_ca_s_key_is_one_that_kubernetes_takes() -> None:
    hosts: Any = {host: {"ca": CA} for host in ("a:5000", "[fd00::1]:5000", "A_b")}
    for path in files(pod({"registries": hosts})):
        assert re.fullmatch(r"[-._a-zA-Z0-9]+", path.rpartition("/")[2])


def test_each_registry_has_a_ca_of_its_own() -> None:
    hosts = ["a.org:5000", "a.org:5001", "a.org", "[fd00::1]:5000"]
    made = pod({"registries": {host: {"ca": f"CA of {host}\n"} for host in hosts}})
    for host in hosts:
        (path,) = made.config["registry"][host]["ca"]
        assert files(made)[path] == f"CA of {host}\n"


def test_a_registry_without_a_ca_names_none() -> None:
    registries: Any = {"a.org": {"ca": "", "http": True}}
    made = pod({"registries": registries})
    assert made.config["registry"]["a.org"] == {"http": True}
    assert len(files(made)) == 1


def test_a_secret_in_it_stays_one() -> None:
    made = pod(lambda: {"registries": {"a.org": {"ca": pulumi.Output.secret(CA)}}})
    assert made.recording.one("ConfigMap").secrets == {"data"}


# Garbage collection


@pytest.mark.parametrize(("volume", "gibibytes"), [(CLAIM, 50), ({**CLAIM, "size": "100Gi"}, 100)])
def test_what_is_kept_follows_from_the_volume_s_size(volume: Any, gibibytes: int) -> None:
    assert worker({}, **volume) == {
        "reservedSpace": str(gibibytes * GIB // 10),
        "maxUsedSpace": str(gibibytes * GIB * 8 // 10),
        "minFreeSpace": str(gibibytes * GIB // 10),
    }


def test_an_empty_dir_of_a_size_keeps_free_what_the_kubelet_wants_free_of_the_nodes_disk() -> None:
    assert worker({}, **EMPTY_DIR, size="20Gi") == {
        "reservedSpace": str(2 * GIB),
        "maxUsedSpace": str(16 * GIB),
        "minFreeSpace": "20%",
    }


def test_without_a_known_size_buildkitd_looks_at_the_disk_by_itself() -> None:
    assert worker({}, **EMPTY_DIR) == {}


def test_a_size_that_is_given_holds_and_the_others_still_follow() -> None:
    kept = worker({"garbage_collection": {"max_used_space": "30Gi"}}, **CLAIM)
    assert kept == {
        "reservedSpace": str(5 * GIB),
        "maxUsedSpace": str(30 * GIB),
        "minFreeSpace": str(5 * GIB),
    }


def test_sizes_that_are_given_need_no_volume_s() -> None:
    given: Any = {"reserved_space": "1G", "min_free_space": "1.5Gi"}
    assert worker({"garbage_collection": given}) == {
        "reservedSpace": "1000000000",
        "minFreeSpace": str(3 * GIB // 2),
    }


@EACH
def test_every_pod_of_any_kind_keeps_as_much(kind: str) -> None:
    config = make(kind, volume={**CLAIM, "size": "10Gi"}).config
    assert config["worker"]["oci"]["maxUsedSpace"] == str(8 * GIB)


@pytest.mark.parametrize(
    ("size", "written"),
    [
        ("80%", "80%"),
        ("250GB", str(250 * GIB)),
        ("250G", str(250 * 10**9)),
        ("512m", str(512 * 1024**2)),
        ("1.5 TiB", str(1536 * GIB)),
        ("1024000000", "1024000000"),
        ("0", "0"),
    ],
)
def test_sizes_are_taken_as_buildkit_and_kubernetes_write_them(size: str, written: str) -> None:
    kept = worker({"garbage_collection": {"min_free_space": size}}, **CLAIM)
    assert kept["minFreeSpace"] == written


@pytest.mark.parametrize(
    ("daemon", "volume", "complaint"),
    [
        (
            {"garbage_collection": {"min_free_space": "ten"}},
            EMPTY_DIR,
            "no size; write one as 50Gi",
        ),
        ({}, {**CLAIM, "size": "50GB"}, "no quantity; write one as 500m, 2 or 50Gi"),
    ],
)
def test_what_is_no_size_is_refused(daemon: Any, volume: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=f"is {complaint}"):
        pod(daemon, **volume)


# How much at once


@pytest.mark.parametrize(
    ("cpu", "steps"), [("4", 4), ("500m", 1), ("2500m", 3), ("1.5", 2), ("3.0", 3)]
)
def test_as_many_steps_run_at_once_as_there_are_cpus(cpu: str, steps: int) -> None:
    assert worker({"resources": {"limits": {"cpu": cpu}}}) == {"max-parallelism": steps}


def test_a_given_number_of_steps_holds() -> None:
    limited: Any = {"resources": {"limits": {"cpu": "4"}}, "max_parallelism": 16}
    assert worker(limited) == {"max-parallelism": 16}


def test_a_limit_that_is_known_later_counts_too() -> None:
    def limited() -> DaemonArgs:
        return {"resources": {"limits": {"cpu": pulumi.Output.from_input("2")}}}

    assert worker(limited) == {"max-parallelism": 2}


def test_what_is_only_asked_for_is_no_limit() -> None:
    asked: Any = {"resources": {"requests": {"cpu": "4"}, "limits": {"memory": "8Gi"}}}
    assert worker(asked) == {}


# Further keys


def test_further_keys_are_laid_over_table_by_table() -> None:
    made = pod(
        {
            "registries": {"docker.io": {"mirrors": ["mirror:5000"]}},
            "config": {
                "debug": True,
                "history": {"maxEntries": 10},
                "registry": {"docker.io": {"proxy": "http://proxy"}},
                "worker": {"oci": {"snapshotter": "native", "maxUsedSpace": "1GB"}},
            },
        },
        **CLAIM,
    )
    assert made.config == {
        "debug": True,
        "history": {"maxEntries": 10},
        "registry": {"docker.io": {"mirrors": ["mirror:5000"], "proxy": "http://proxy"}},
        "worker": {
            "oci": {
                "reservedSpace": str(5 * GIB),
                "maxUsedSpace": "1GB",
                "minFreeSpace": str(5 * GIB),
                "snapshotter": "native",
            }
        },
    }


def test_a_list_that_is_given_replaces_the_one_that_was_made() -> None:
    made = pod(
        {
            "registries": {"docker.io": {"mirrors": ["a:5000"]}},
            "config": {"registry": {"docker.io": {"mirrors": ["b:5000"]}}},
        }
    )
    assert made.config["registry"]["docker.io"]["mirrors"] == ["b:5000"]


def test_lists_of_tables_are_written_too() -> None:
    policies = [{"all": True, "keepDuration": 3600, "filters": ["type==source.local"]}]
    config = {"worker": {"oci": {"gcpolicy": policies}}}
    assert pod({"config": config}).config == config


@pytest.mark.parametrize("text", ['say "yes"', "C:\\cache", "a\nb", "ü", "'''", '"""'])
def test_any_text_comes_out_as_it_went_in(text: str) -> None:
    assert pod({"config": {"proxyNetwork": {text: text}}}).config == {"proxyNetwork": {text: text}}


def test_whole_numbers_are_so_though_other_languages_send_floats() -> None:
    config = {"history": {"maxEntries": 10.0}, "worker": {"oci": {"gcpolicy": [{"all": True}]}}}
    made = pod({"config": config})
    assert "maxEntries = 10\n" in files(made)["/etc/buildkit/buildkitd.toml"]
    assert made.config == config


def test_the_file_is_the_same_whatever_the_order_of_the_keys() -> None:
    there: Any = {"a.org": {"http": True}, "b.org": {"http": True, "insecure": True}}
    back: Any = {"b.org": {"insecure": True, "http": True}, "a.org": {"http": True}}
    texts = [files(pod({"registries": r, "config": {"x": r}})) for r in (there, back)]
    assert texts[0] == texts[1]
