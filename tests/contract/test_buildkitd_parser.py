"""What BuildKit's own parser makes of buildkitd.toml, and of what a stack may say in it."""

import itertools
import json
import os
import subprocess
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import tomli_w
import yaml
from pulumi_buildkit.quantity import disk_space

from settings.buildkitd_toml import AGE, SIZE
from tests.recording import REPO
from tests.recording import record_program as run

GIB = 1024**3
EPHEMERAL = ["type==source.local", "type==exec.cachemount", "type==source.git.checkout"]
Parser = Callable[[Sequence[str]], list[Any]]


@pytest.fixture(scope="module")
def buildkit(tmp_path_factory: pytest.TempPathFactory) -> Parser:
    """The parser of the BuildKit that the lab runs: for each file its error, or what it says."""
    tool = tmp_path_factory.mktemp("buildkitd-toml") / "parse"
    source = REPO / "tests" / "contract" / "buildkitd_toml" / "main.go"
    environment = {"GOWORK": "off", "GOFLAGS": "-mod=readonly", "CGO_ENABLED": "0"}
    built = subprocess.run(
        ["go", "build", "-o", str(tool), str(source)],
        cwd=REPO / "lab" / "tools" / "buildkit",
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr

    def parse(files: Sequence[str]) -> list[Any]:
        done = subprocess.run([tool], input=json.dumps(files), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return [
            answer["Error"] or answer["Config"]["Workers"]["OCI"]
            for answer in json.loads(done.stdout)
        ]

    return parse


def written(stack: str) -> str:
    """The buildkitd.toml of a *stack*, whose keys are YAML."""
    made = run(**yaml.safe_load(stack))
    (config,) = (r for r in made.of("ConfigMap") if "buildkitd.toml" in r.inputs["data"])
    return str(config.inputs["data"]["buildkitd.toml"])


# Files that are public, in other words, and the stack that says the same.
PUBLIC = {
    "a CI's farm: shares of the disk": (
        """
        [worker.oci]
        gc = true
        reservedSpace = "80%"
        maxUsedSpace = "90%"
        minFreeSpace = "250GB"
        """,
        """
        buildkitd: {worker: {oci: {gc: true}}}
        garbageCollection: {reservedSpace: 80%, maxUsedSpace: 90%, minFreeSpace: 250GB}
        """,
    ),
    "BuildKit's own example: units, seconds and policies": (
        """
        [worker.oci]
        reservedSpace = "30%"
        maxUsedSpace = "60%"
        minFreeSpace = "20GB"
        [[worker.oci.gcpolicy]]
        filters = ["type==source.local"]
        reservedSpace = "512MB"
        maxUsedSpace = "1GB"
        minFreeSpace = "10GB"
        keepDuration = "48h"
        [[worker.oci.gcpolicy]]
        all = true
        reservedSpace = 1024000000
        keepDuration = 172800
        """,
        """
        garbageCollection: {reservedSpace: 30%, maxUsedSpace: 60%, minFreeSpace: 20GB}
        buildkitd:
          worker:
            oci:
              gcpolicy:
              - filters: [type==source.local]
                reservedSpace: 512MB
                maxUsedSpace: 1GB
                minFreeSpace: 10GB
                keepDuration: 48h
              - {all: true, reservedSpace: 1024000000, keepDuration: 172800}
        """,
    ),
    "a small host: nothing reserved, bytes as numbers": (
        """
        [worker.oci]
        gc = true
        reservedSpace = 0
        maxUsedSpace = 64000000000
        minFreeSpace = 32000000000
        """,
        """
        buildkitd: {worker: {oci: {gc: true}}}
        garbageCollection: {reservedSpace: 0, maxUsedSpace: 64000000000, minFreeSpace: 32000000000}
        """,
    ),
    "an older one: keepBytes": (
        """
        [[worker.oci.gcpolicy]]
        keepBytes = "10%"
        keepDuration = "168h"
        [[worker.oci.gcpolicy]]
        all = true
        keepBytes = 60e9
        keepDuration = "1h30m"
        """,
        """
        buildkitd:
          worker:
            oci:
              gcpolicy:
              - {keepBytes: 10%, keepDuration: 168h}
              - {all: true, keepBytes: 60.0e+9, keepDuration: 1h30m}
        """,
    ),
}


@pytest.mark.parametrize("name", PUBLIC)
def test_a_stack_says_what_a_public_buildkitd_toml_says(buildkit: Parser, name: str) -> None:
    public, stack = PUBLIC[name]
    theirs, ours = buildkit([public, written(stack)])
    assert theirs == ours


SIZES = [
    f"{number}{space}{unit}"
    for number, space, unit in itertools.product(
        ("0", "80", "250", "1.5", "2.", ".5", "-1", "x", ""),
        ("", " ", "  "),
        (
            *("", "%", "b", "B", "k", "K", "kB", "KiB", "Ki", "m", "MB", "mib", "Mi", "MI"),
            *("g", "G", "gb", "GB", "GiB", "Gi", "T", "TB", "P", "PB", "E", "EB", "GBs", "ib"),
        ),
    )
]
TIMES = [
    *("", "0", "48h", "1h30m", "1.5h", ".5s", "2.m", "300ms", "5us", "5µs", "5μs", "7ns", "-1h"),
    *("+1h", "3600", "-3600", "1d", "1w", "h", "1", "1.5", "1 h", "2562047h", "2562048h", "two"),
]
NUMBERS = [0, 1, -1, 512, 1024000000, 10**18, 1e9, 1.5, 60e9, True, False]


def file(key: str, value: Any) -> str:
    return tomli_w.dumps({"worker": {"oci": {"gcpolicy": [{key: value}]}}})


@pytest.mark.parametrize(
    ("key", "kind", "texts"), [("keepBytes", SIZE, SIZES), ("keepDuration", AGE, TIMES)]
)
def test_below_buildkitd_a_value_is_taken_if_buildkit_takes_it(
    buildkit: Parser, key: str, kind: Any, texts: list[str]
) -> None:
    values = [*texts, *NUMBERS]
    # Other languages send whole numbers as floats, and the file has them as they are.
    files = [file(key, int(v) if isinstance(v, float) and v.is_integer() else v) for v in values]
    takes = [not isinstance(answer, str) for answer in buildkit(files)]
    assert [bool(kind.fits(v)) for v in values] == takes, [
        v for v, t in zip(values, takes, strict=True) if bool(kind.fits(v)) != t
    ]


# Kubernetes has them, too, and there they are powers of ten, as in every other size of a stack.
QUANTITIES = ("k", "M", "G", "T", "P")


def test_garbage_collection_takes_what_buildkit_takes_and_means_the_same(buildkit: Parser) -> None:
    said = [text for text in SIZES if text and not text.startswith("-")]
    texts = [text for text in said if " " in text or not text.endswith(QUANTITIES)]
    compared = 0
    for text, answer in zip(texts, buildkit([file("keepBytes", t) for t in texts]), strict=True):
        if not isinstance(answer, str):
            theirs = answer["GCPolicy"][0]["KeepBytes"]
            assert disk_space(text) == (theirs["Bytes"], theirs["Percentage"]), text
            compared += 1
    assert compared > 100
