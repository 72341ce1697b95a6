"""The alerts, in a Prometheus whose time is made up: what each needs to fire, and what it lets be.

By promtool's unit tests: https://prometheus.io/docs/prometheus/latest/configuration/unit_testing_rules/
"""

import json
import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pulumi_buildkit import _alerts

from lab import build
from tests.recording import REPO

HOLD = 600
WATCHED = _alerts.Installation("build", "buildkitd", HOLD)
NAMES = [rule["alert"] for group in _alerts.groups(WATCHED) for rule in group["rules"]]
POD = 'namespace="build", pod="buildkit-gateway-1"'
WAITING = f'envoy_cluster_upstream_rq_pending_active{{envoy_cluster_name="buildkitd", {POD}}}'
THERE = {WAITING: "0x120"}


def pods(kind: str, pod: str = POD) -> str:
    """What a gateway knows of the pods of its farm, and of the Service behind them."""
    return f'envoy_cluster_membership_{kind}{{envoy_cluster_name="address", {pod}}}'


BUILDKITD = (
    "container_memory_working_set_bytes"
    '{namespace="build", pod="buildkitd-0", container="buildkitd"}'
)


def finished(outcome: str, pod: str = POD) -> str:
    return f'envoy_buildkit_builds_finished{{client="dev", outcome="{outcome}", {pod}}}'


def held(seconds: str) -> str:
    return f'envoy_buildkit_hold_milliseconds_bucket{{le="{seconds}", {POD}}}'


def volume(statistic: str, claim: str = "rootless-cache-buildkitd-0") -> str:
    name = f"kubelet_volume_stats_{statistic}_bytes"
    return f'{name}{{namespace="build", persistentvolumeclaim="{claim}"}}'


def overload(name: str, prefix: str) -> str:
    return f"envoy_{prefix}overload_actions_{name}{{{POD}}}"


def certificate(name: str) -> str:
    metric = "envoy_listener_ssl_certificate_expiration_unix_time_seconds"
    return f'{metric}{{envoy_tls_certificate="{name}", {POD}}}'


class Case(NamedTuple):
    """What there is, a value a minute; which alerts fire after so many minutes."""

    series: dict[str, str]
    minutes: int
    fire: set[str]


DAY = 86_400
CASES = {
    "nothing is wrong": Case(
        {
            **THERE,
            finished("OK"): "0+3x120",
            finished("Unknown"): "0+1x120",
            held("1000"): "0+3x120",
            held("+Inf"): "0+3x120",
            BUILDKITD: "1x120",
            volume("used"): "80x120",
            volume("capacity"): "100x120",
            certificate("server"): f"{30 * DAY}x120",
            pods("healthy"): "4x120",
            pods("total"): "4x120",
        },
        100,
        set(),
    ),
    "no gateway is heard of": Case({}, 6, {"BuildKitGatewayDown"}),
    "a gateway was away for a moment": Case({WAITING: "0x10 _x3 0x30"}, 20, set()),
    "the only gateway is another namespace's": Case(
        {WAITING.replace('"build"', '"other"'): "0x60"}, 10, {"BuildKitGatewayDown"}
    ),
    "builds wait for more than half of what they may": Case(
        {WAITING: "0x10 2x60"}, 20, {"BuildKitDown"}
    ),
    # Between two tries of a hold nothing waits.
    "a look at a hold falls between two tries": Case(
        {WAITING: "0x10 2x5 0 2x60"}, 20, {"BuildKitDown"}
    ),
    "builds wait for two minutes": Case({WAITING: "0x10 2x2 0x60"}, 14, set()),
    "many are seen while they connect": Case({WAITING: "0 0 1 0 0 0 1 0 0 0 0 1 0x60"}, 12, set()),
    "a gateway resets a request to save memory": Case(
        {**THERE, overload("reset_high_memory_stream_count", "envoy_"): "0x10 1x60"},
        12,
        {"BuildKitGatewayOverloaded"},
    ),
    "a gateway refuses requests to save memory": Case(
        {**THERE, overload("stop_accepting_requests_active", "overload_envoy_"): "0x10 1x60"},
        12,
        {"BuildKitGatewayOverloaded"},
    ),
    "a gateway has enough memory": Case(
        {
            **THERE,
            overload("reset_high_memory_stream_count", "envoy_"): "0x60",
            overload("stop_accepting_requests_active", "overload_envoy_"): "0x60",
        },
        30,
        set(),
    ),
    "a hold was over, the first ever": Case(
        {**THERE, f"envoy_buildkit_holds_expired{{{POD}}}": "_x10 1x60"},
        12,
        {"BuildKitHoldsExpired"},
    ),
    "a hold was over an hour ago": Case(
        {**THERE, f"envoy_buildkit_holds_expired{{{POD}}}": "_x10 1x120"}, 70, set()
    ),
    "a hold took six minutes": Case(
        {**THERE, held("300000"): "0x60", held("600000"): "0x10 1x60", held("+Inf"): "0x10 1x60"},
        12,
        {"BuildKitHoldsNearLimit"},
    ),
    "a hold took four minutes": Case(
        {**THERE, held("60000"): "0x60", held("300000"): "0x10 1x60", held("+Inf"): "0x10 1x60"},
        12,
        set(),
    ),
    "a build was cut off while its pod stayed": Case(
        {**THERE, finished("Unavailable"): "_x10 1x60", BUILDKITD: "1x60"},
        12,
        {"BuildKitBuildsLost"},
    ),
    "a build was cut off, and nobody asks the kubelet": Case(
        {**THERE, finished("Unavailable"): "0x10 1x60"}, 12, {"BuildKitBuildsLost"}
    ),
    "a build was cut off, and its pod has gone": Case(
        {**THERE, finished("Unavailable"): "0x10 1x60", BUILDKITD: "1x10 stale"},
        12,
        {"BuildKitDrainCutsBuilds"},
    ),
    "a build was cut off, and a pod went long before": Case(
        {**THERE, finished("Unavailable"): "0x20 1x60", BUILDKITD: "1x10 stale"},
        22,
        {"BuildKitBuildsLost"},
    ),
    "a hold was over, and its build ended as one that is cut off": Case(
        {
            **THERE,
            finished("Unavailable"): "0x10 1x60",
            f"envoy_buildkit_holds_expired{{{POD}}}": "_x10 3x60",
        },
        12,
        {"BuildKitHoldsExpired"},
    ),
    "a pod has gone, and no build with it": Case(
        {**THERE, finished("OK"): "0+1x60", BUILDKITD: "1x10 stale"}, 12, set()
    ),
    "clients gave their builds up": Case(
        {
            **THERE,
            finished("OK"): "0x10 2x60",
            finished("Canceled"): "0x10 5x60",
            finished(""): "0x10 5x60",
        },
        12,
        set(),
    ),
    "most builds fail of those that are not given up": Case(
        {
            **THERE,
            finished("OK"): "0x10 2x60",
            finished("Unknown"): "0x10 6x60",
            finished("Canceled"): "0x10 20x60",
        },
        30,
        {"BuildKitBuildsFail"},
    ),
    "most builds fail": Case(
        {**THERE, finished("OK"): "0x10 2x60", finished("Unknown"): "0x10 6x60"},
        30,
        {"BuildKitBuildsFail"},
    ),
    "a few builds fail": Case({**THERE, finished("Unknown"): "0x10 3x60"}, 30, set()),
    "a farm's gateway reaches none of its pods' checks": Case(
        {**THERE, pods("healthy"): "1x60", pods("total"): "4x60"}, 12, {"BuildKitFarmFallback"}
    ),
    "one of two gateways does not reach one pod": Case(
        {
            **THERE,
            pods("healthy"): "4x60",
            pods("total"): "4x60",
            pods("healthy", POD.replace("-1", "-2")): "4x10 3x60",
            pods("total", POD.replace("-1", "-2")): "4x60",
        },
        25,
        {"BuildKitFarmFallback"},
    ),
    "a farm rolls its pods out": Case(
        {**THERE, pods("healthy"): "4 3 4 3 3 4 2 4 3 4x60", pods("total"): "4x60"}, 12, set()
    ),
    "a farm's pods are gone": Case(
        {**THERE, pods("healthy"): "4x10 1x60", pods("total"): "4x10 1x60"}, 30, set()
    ),
    "a volume is full": Case(
        {**THERE, volume("used"): "95x60", volume("capacity"): "100x60"}, 20, {"BuildKitCacheFull"}
    ),
    "somebody else's volume is full": Case(
        {**THERE, volume("used", "mail"): "95x60", volume("capacity", "mail"): "100x60"}, 20, set()
    ),
    "a certificate has 13 days left": Case(
        {**THERE, certificate("server"): f"{13 * DAY}x60"}, 20, {"BuildKitCertificateEnds"}
    ),
    "a certificate has 15 days left": Case(
        {**THERE, certificate("server"): f"{15 * DAY}x60"}, 20, set()
    ),
}


def promtool(*arguments: str, directory: Path) -> subprocess.CompletedProcess[str]:
    program = build.program(build.PROMTOOL)
    return subprocess.run(
        [str(program), *arguments], cwd=directory, capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    file = tmp_path / "rules.json"
    file.write_text(json.dumps({"groups": _alerts.groups(WATCHED)}))
    return file


def fired(names: set[str], minutes: int) -> list[dict[str, Any]]:
    """That of all alerts these fire then, whatever their labels and words."""
    each = [
        f'count(ALERTS{{alertname="{name}", alertstate="firing", namespace="build"}}) or vector(0)'
        for name in NAMES
    ]
    return [
        {
            "expr": expression,
            "eval_time": f"{minutes}m",
            "exp_samples": [{"labels": "{}", "value": int(name in names)}],
        }
        for name, expression in zip(NAMES, each, strict=True)
    ]


@pytest.mark.parametrize("name", CASES)
def test_an_alert_fires_when_it_should_and_only_then(
    name: str, tmp_path: Path, rules: Path
) -> None:
    series, minutes, names = CASES[name]
    tests = {
        "rule_files": [rules.name],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": s, "values": v} for s, v in series.items()],
                "promql_expr_test": fired(names, minutes),
            }
        ],
    }
    (tmp_path / "tests.json").write_text(json.dumps(tests))
    done = promtool("test", "rules", "tests.json", directory=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_made_to_fire() -> None:
    assert set().union(*(case.fire for case in CASES.values())) == {*NAMES}


def test_promtool_takes_the_rules(tmp_path: Path, rules: Path) -> None:
    done = promtool("check", "rules", rules.name, directory=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("rule", _alerts.groups(WATCHED)[0]["rules"], ids=NAMES)
def test_an_alert_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"] == {"severity": rule["labels"]["severity"]}
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"]["summary"] and rule["annotations"]["description"]
    page, _, heading = rule["annotations"]["action"].removeprefix("see docs/").partition("#")
    headings = re.findall(r"^#+ (.+)$", (REPO / "docs" / page).read_text(), re.MULTILINE)
    assert heading in {slug(text) for text in headings}


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize(("hold", "lasting"), [(600, "300s"), (1920, "960s"), (30, "60s")])
def test_builds_wait_in_proportion_to_the_hold(hold: int, lasting: str) -> None:
    [down] = [
        rule
        for rule in _alerts.groups(WATCHED._replace(hold=hold))[0]["rules"]
        if rule["alert"] == "BuildKitDown"
    ]
    assert down["for"] == lasting
