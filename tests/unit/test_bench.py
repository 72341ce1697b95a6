import copy
import json
import re
from typing import Any

import pytest

from bench import names, plot, report, ring, scale
from bench.order import rotated
from bench.report import Raw, Target
from tests.recording import REPO

RECORDED = REPO / "docs" / "benchmarks.json"
SECONDS = {
    "plaintext": [0.04, 0.05, 0.06],
    "upstream": [0.10, 0.09, 0.20],
    "http2": [0.104, 0.5, 0.09],
    "tcp": [0.10, 0.10, 0.10],
}
RAW: Raw = {
    "commit": "abc1234",
    "date": "2026-11-21",
    "machine": "2 cores",
    "buildkit": "v0.34.2",
    "minutes": 41.7,
    "rounds": 3,
    "hold": 600,
    "builds": {
        report.SMALL: SECONDS,
        report.LARGE: SECONDS,
        "600 MB, buildx": {**SECONDS, "driver": [1.0, 2.0, 3.0]},
    },
    "tuning": {"small build": {"no gateway": [0.05, 0.05], "as it is": [0.06, 0.06]}},
    "first": {"http2": [10.0, 12.0, 11.0], "upstream": [6.0, 33.0], "driver": [32.0, 31.0, 90.0]},
    "rollouts": {
        "http2": {"rollouts": 10, "builds": 300, "lost": 0, "reasons": {}},
        "upstream": {"rollouts": 10, "builds": 200, "lost": 7, "reasons": {"EOF": 5, "reset": 2}},
    },
    "holds": {"http2": {"buildctl": {"seconds": 600.4, "said": "no | luck"}}},
    "memory": {"0": 16.2, "1000": 48.9},
    "farm": {
        "projects": 30,
        "daemons": 3,
        "cached": {
            "hostName": {"steps": 60, "cached": 60},
            "random": {"steps": 60, "cached": 21},
        },
        "names": 200,
        "moved": {"up": 52, "down": 51, "both": 1},
        "zero": {
            "buildctl": {"seconds": [3.0, 4.0, 3.5], "lost": 0},
            "buildx": {"seconds": [4.0, 4.5, 6.0], "lost": 0},
        },
    },
}
FARM = RAW["farm"]


def changed(**figures: Any) -> Raw:
    return {**copy.deepcopy(RAW), **figures}


def missed(raw: Raw) -> list[float]:
    """The limits that were not kept."""
    return [target.limit for target in report.targets(raw) if not target.met]


def test_the_ratio_is_that_of_the_medians() -> None:
    assert report.ratio(SECONDS, "http2", "upstream") == pytest.approx(1.04)
    assert report.ratio(RAW["first"], "http2", "driver") == pytest.approx(11 / 32)


def test_every_target_can_be_met() -> None:
    assert missed(RAW) == []


def test_every_target_can_be_missed() -> None:
    slow = {**SECONDS, "http2": [0.2, 0.2, 0.2]}
    raw = changed(
        builds={report.SMALL: slow, report.LARGE: slow},
        first={**RAW["first"], "http2": [13.0]},
        rollouts={"http2": {"rollouts": 10, "builds": 300, "lost": 1, "reasons": {"EOF": 1}}},
        memory={"0": 16.2, "1000": 101.0},
        farm={
            **FARM,
            "cached": {"hostName": {"steps": 60, "cached": 59}},
            "zero": {"buildctl": {"seconds": [5.1], "lost": 1}},
        },
    )
    assert missed(raw) == [1.05, 0.95, 0.4, 0, 100, 0.99, 5, 0]


def test_a_figure_is_judged_as_it_is_shown() -> None:
    assert Target("time", 1.05, 1.0549).met
    assert not Target("time", 1.05, 1.0551).met
    assert Target("throughput", 0.95, 0.946, at_least=True).met
    assert not Target("throughput", 0.95, 0.944, at_least=True).met


def test_a_missed_target_is_shown_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    target = Target("time", 1.05, 2.0)
    assert target.verdict == "**missed**"
    monkeypatch.setitem(report.MISSED, "time", "two handshakes")
    assert target.verdict == "**missed**: two handshakes"
    assert Target("time", 1.05, 1.0).verdict == "met"


def test_every_reason_belongs_to_a_target() -> None:
    assert report.MISSED.keys() <= {target.name for target in report.targets(RAW)}


def test_the_page_has_every_way_with_median_range_and_ratio() -> None:
    page = report.page(RAW)
    assert "| this program, `protocol: http2` | 3 | 0.104 | 0.09 to 0.5 | 1.04 |" in page
    assert "| docker buildx's kubernetes driver | 3 | 32 | 31 to 90 | 1.00 |" in page
    assert "| BuildKit's own manifests: buildkitd with mTLS | 2 | 19.5 | 6 to 33 | 0.61 |" in page


def test_the_page_says_what_was_tuned_lost_held_and_used() -> None:
    page = report.page(RAW)
    assert "| as it is | 2 | 0.06 | 0.06 to 0.06 | 1.20 |" in page
    assert "| this program, `protocol: http2` | 10 | 300 | 0 |  |" in page
    assert "| 10 | 200 | 7 | 5 times `EOF`; 2 times `reset` |" in page
    assert "| this program, `protocol: http2` | buildctl | 600 | `no \\| luck` |" in page
    assert "| 1,000 | 49 |" in page
    assert "| no farm: the Service chooses, at random | 60 | 21 | 0.35 |" in page
    assert "| from 4 to 3 | 51 | 0.26 | 0.25 |" in page
    assert "| buildx | 3 | 0 | 4.5 | 4 to 6 |" in page
    assert "which took 42 minutes" in page
    assert "Commit abc1234, 2026-11-21, 2 cores, 3 rounds." in page


def test_what_was_measured_alone_says_when() -> None:
    alone = {"commit": "def5678", "date": "2026-11-22", "machine": "4 cores"}
    page = report.page(changed(alone={"farm": alone}))
    assert "3 rounds.\nFarms and zero, alone: commit def5678, 2026-11-22, 4 cores.\n" in page


def test_the_page_is_what_its_figures_say() -> None:
    raw = json.loads(RECORDED.read_text())
    assert RECORDED.with_suffix(".md").read_text() == report.page(raw)


def test_every_table_of_the_page_is_one() -> None:
    for block in report.page(RAW).split("\n\n"):
        rows = [line for line in block.splitlines() if line.startswith("|")]
        assert len({row.replace(r"\|", "").count("|") for row in rows}) <= 1, block


def test_the_plot_shows_every_comparison_and_is_the_same_each_time() -> None:
    drawn = plot.svg(RAW)
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", drawn)
    assert [text for text in texts if text.endswith("= 1")] == [
        "small build, buildctl, upstream's manifests = 1",
        "600 MB, buildctl, upstream's manifests = 1",
        "600 MB, buildx, upstream's manifests = 1",
        "first build, kubernetes driver = 1",
    ]
    assert {"1.04", "20.00", "0.34", "this program, http2"} <= {*texts}
    assert plot.svg(RAW) == drawn


def test_each_round_starts_with_another_way() -> None:
    assert [rotated("abc", number) for number in range(4)] == [
        ["a", "b", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
        ["a", "b", "c"],
    ]


SCALED = REPO / "docs" / "farms-at-scale.json"
SCALE: Raw = json.loads(SCALED.read_text())


def query(name: str, kind: int) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0" + labels + bytes([0, 0, kind, 0, 1])


@pytest.mark.parametrize(
    ("name", "kind", "code", "found"),
    [
        ("pod.build.svc", 1, 0, b"\x7f\xfb\0\x01"),
        ("Pod.build.SVC", 1, 0, b"\x7f\xfb\0\x01"),
        ("pod.build.svc", 28, 0, b""),
        ("pod.build.svc.cluster.local", 1, 3, b""),
    ],
)
def test_a_name_has_its_address_and_no_other_has_one(
    name: str, kind: int, code: int, found: bytes
) -> None:
    asked = query(name, kind)
    answered = names.answer(asked, {"pod.build.svc": "127.251.0.1"})
    assert answered[:2] == asked[:2]
    assert answered[3] & 15 == code
    assert answered[7] == bool(found)
    assert answered[12:].startswith(asked[12:])
    assert answered.endswith(found)


def test_who_neither_was_on_a_pod_that_changed_nor_is_moved_needlessly() -> None:
    assert ring.moves("aabc", "acbb", "d") == {"moved": 0.5, "needlessly": 2}
    assert ring.moves("aabc", "bbbc", "a") == {"moved": 0.5, "needlessly": 0}
    assert ring.moves("aabc", "dabd", "d") == {"moved": 0.5, "needlessly": 0}


def test_the_fullest_is_compared_with_the_mean() -> None:
    assert ring.fullest("aabc", 3) == 1.5
    assert ring.fullest("aaaa", 4) == 4


def test_what_is_measured_is_what_is_shipped() -> None:
    farm, connector = ring.shipped(400)["static_resources"]["clusters"][1::-1]
    assert connector["name"] == "buildkitd"
    pods, service = (group["lb_endpoints"] for group in farm["load_assignment"]["endpoints"])
    assert (len(pods), len(service)) == (400, 1)
    policies = ring.rings(400)["static_resources"]["clusters"]
    assert [one["name"] for one in policies] == [*ring.POLICIES] == [*scale.POLICIES]
    # The first is the product's own.
    assert {**policies[0], "name": "address"} == farm
    assert {**policies[1], "name": "address", "lb_policy": "MAGLEV"} == farm


def test_the_page_of_scale_is_what_its_figures_say() -> None:
    assert SCALED.with_suffix(".md").read_text() == scale.page(SCALE)


def test_the_page_of_scale_has_every_farm_that_is_measured() -> None:
    assert [*SCALE["rings"]] == [str(pods) for pods in ring.RINGS]
    assert [*SCALE["gateways"]] == [str(pods) for pods in ring.GATEWAYS]
    page = scale.page(SCALE)
    for pods in ring.RINGS:
        assert page.count(f"\n| {pods:,} | ") >= len(ring.POLICIES)


def test_every_table_of_the_page_of_scale_is_one() -> None:
    for block in scale.page(SCALE).split("\n\n"):
        rows = [line for line in block.splitlines() if line.startswith("|")]
        assert len({row.count("|") for row in rows}) <= 1, block
