"""What the pods are like on a node."""

import json
from pathlib import Path
from typing import Any

from tests.lab.conftest import Configured

BUSY = 40  # seconds: longer than three probes that fail take to make a pod unready
BRANCHES = 8

MAXIMUM = Path("/proc/sys/user/max_user_namespaces")


def test_a_pod_that_builds_at_its_limit_stays_ready(configured: Configured) -> None:
    limits = {"limits": {"cpu": "500m"}}
    installation = configured({"buildkit:resources": limits, "buildkit:maxParallelism": BRANCHES})

    def readiness() -> list[Any]:
        (name,) = installation.pods("buildkitd")
        pod = json.loads(installation.kubectl("get", f"pod/{name}", "--output=json"))
        (container,) = pod["status"]["containerStatuses"]
        ready = next(c for c in pod["status"]["conditions"] if c["type"] == "Ready")
        return [ready["status"], ready["lastTransitionTime"], container["restartCount"]]

    before = readiness()
    burn = f"RUN timeout {BUSY} sh -c 'while :; do :; done' || touch /burnt"
    stages = [f"FROM debian:bookworm-slim AS s{n}\n{burn}" for n in range(BRANCHES)]
    copies = [f"COPY --from=s{n} /burnt /burnt{n}" for n in range(BRANCHES)]
    dockerfile = "\n".join([*stages, "FROM scratch", *copies])
    (installation.directory / "Dockerfile").write_text(dockerfile)
    result = installation.run("sh", "-c", installation.outputs["buildctl_command"])
    assert result.returncode == 0, result.stderr
    assert readiness() == before
    assert before[0] == "True"


def test_user_namespaces_are_allowed_on_the_nodes(configured: Configured) -> None:
    installation = configured({"buildkit:userNamespaces": {"enabled": True}})
    assert int(MAXIMUM.read_text()) >= 63359
    ready = "--output=jsonpath={.status.numberReady}"
    assert installation.kubectl("get", "daemonset/sysctl-userns", ready) == "1"
    assert installation.buildctl("debug", "workers").returncode == 0
