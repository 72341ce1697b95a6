"""The figures as a page: medians, ratios, and whether the targets are met."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Raw = dict[str, Any]
"""What one run measured, as in docs/benchmarks.json."""

WAYS = {
    "plaintext": "buildkitd without TLS",
    "upstream": "BuildKit's own manifests: buildkitd with mTLS",
    "http2": "this program, `protocol: http2`",
    "tcp": "this program, `protocol: tcp`",
    "driver": "docker buildx's kubernetes driver",
}
SMALL = "small build, buildctl"
LARGE = "600 MB, buildctl"

_SMALL_TARGET = "time of a small build, to buildkitd's own mTLS"
_LARGE_TARGET = "throughput of 600 MB, to buildkitd's own mTLS"
MISSED = {
    _SMALL_TARGET: "Envoy's log shows one or two milliseconds for the second handshake, a fraction "
    "of one for each of some ten requests that follow one another, and nothing that waits; no "
    "setting of it changes that ([Tuning](#tuning))",
    _LARGE_TARGET: "Envoy decrypts and encrypts every byte, on the two cores that client and "
    "buildkitd use too; no setting of it changes that ([Tuning](#tuning))",
}
"""Why a target is missed, by its name, as far as it was found out."""


@dataclass(frozen=True)
class Target:
    """What was promised, and what was measured."""

    name: str
    limit: float
    measured: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the figure, as precise as it is shown, is within the limit."""
        shown = round(self.measured, 2)
        return shown >= self.limit if self.at_least else shown <= self.limit

    @property
    def verdict(self) -> str:
        """What the page says of it."""
        if self.met:
            return "met"
        return ": ".join(["**missed**", *([MISSED[self.name]] if self.name in MISSED else [])])


def ratio(seconds: Mapping[str, Sequence[float]], way: str, reference: str) -> float:
    """The median of one way to that of another."""
    return statistics.median(seconds[way]) / statistics.median(seconds[reference])


def targets(raw: Raw) -> list[Target]:
    """The promises, and what this run says of them."""
    builds = raw["builds"]
    small = ratio(builds[SMALL], "http2", "upstream")
    throughput = ratio(builds[LARGE], "upstream", "http2")
    first = ratio(raw["first"], "http2", "driver")
    return [
        Target(_SMALL_TARGET, 1.05, small),
        Target(_LARGE_TARGET, 0.95, throughput, at_least=True),
        Target("time to the first build, to the kubernetes driver", 0.4, first),
        Target("builds lost in rollouts", 0, raw["rollouts"]["http2"]["lost"]),
        Target("MB of a gateway pod with 1,000 idle clients", 100, raw["memory"]["1000"]),
        *(_farm_targets(raw["farm"]) if "farm" in raw else []),
    ]


def _farm_targets(farm: Raw) -> list[Target]:
    clients = farm["zero"].values()
    slower = max(statistics.median(of["seconds"]) for of in clients if of["seconds"])
    cached = _share(farm["cached"]["hostName"])
    return [
        Target("share of a farm's second builds in the cache", 0.99, cached, at_least=True),
        Target("seconds from no buildkitd to a built image", 5, slower),
        Target("builds lost that found no buildkitd", 0, sum(of["lost"] for of in clients)),
    ]


def _share(of: Mapping[str, int]) -> float:
    return of["cached"] / of["steps"]


def page(raw: Raw) -> str:
    """docs/benchmarks.md."""
    parts = (_head, _targets, _builds, _tuning, _first, _rollouts, _holds, _memory, _farm)
    return "\n".join(line for part in parts for line in part(raw))


def _head(raw: Raw) -> Iterator[str]:
    buildkit = raw["buildkit"]
    yield f"""\
# Benchmarks

Made by `make bench`, which took {raw["minutes"]:.0f} minutes and starts the lab if none runs;
`make bench QUICK=1` tries it all in one round and writes nothing. All of it runs on the lab's one
node, side by side and in turns: one of each way, then the next round in another order. Every
buildkitd is rootless BuildKit {buildkit}, with its images on the node already. The raw figures are
in [benchmarks.json](benchmarks.json).

Commit {raw["commit"]}, {raw["date"]}, {raw["machine"]}, {raw["rounds"]} rounds.
{"".join(_alone(raw))}
![Medians to those of BuildKit's own manifests, or of the driver](benchmarks.svg)
"""


_TITLES = {"first": "First build", "tuning": "Tuning", "farm": "Farms and zero"}


def _alone(raw: Raw) -> Iterator[str]:
    for part, of in raw.get("alone", {}).items():
        yield f"{_TITLES[part]}, alone: commit {of['commit']}, {of['date']}, {of['machine']}.\n"


def _targets(raw: Raw) -> Iterator[str]:
    yield "## Targets\n\n| | target | measured | |\n|---|---|---|---|"
    for target in targets(raw):
        bound = "at least" if target.at_least else "at most"
        figures = f"{bound} {target.limit:g} | {round(target.measured, 2):g}"
        yield f"| {target.name} | {figures} | {target.verdict} |"
    yield ""


_BUILDS = """\
## Builds

A small build has one file and is in the cache: its time is that of connections and requests.
600 MB are a directory of random bytes that is sent anew each time. buildkitd without TLS is what
no way with TLS can reach; the kubernetes driver can be used by docker buildx only. The ratio is
to BuildKit's own manifests.
"""


def _builds(raw: Raw) -> Iterator[str]:
    yield _BUILDS
    for title, seconds in raw["builds"].items():
        yield f"### {title[:1].upper()}{title[1:]}\n"
        yield from seconds_table(seconds, "upstream")


def _tuning(raw: Raw) -> Iterator[str]:
    yield """\
### Tuning

The http2 gateway with one setting changed at a time, in front of one buildkitd, by buildctl.
TCP_NODELAY is on in Envoy.
"""
    for title, seconds in raw["tuning"].items():
        yield f"{title[:1].upper()}{title[1:]}:\n"
        yield from seconds_table(seconds, "no gateway")


def _first(raw: Raw) -> Iterator[str]:
    yield """\
## First build

From an empty cluster to the end of a small build: `pulumi up` of a new stack; certificates,
`kubectl apply` of BuildKit's own manifests and `kubectl rollout status`; `docker buildx create`
with the kubernetes driver. Where a pod's readiness probe comes at 5 s and then every 30 s, so does
the first build. The ratio is to the driver.
"""
    yield from seconds_table(raw["first"], "driver")


def seconds_table(seconds: Mapping[str, Sequence[float]], reference: str) -> Iterator[str]:
    """Medians and spread by way, each to one of them."""
    yield "| | builds | median, s | range, s | ratio |\n|---|---|---|---|---|"
    for way, values in seconds.items():
        spread = f"{min(values):.3g} to {max(values):.3g}"
        median = f"{statistics.median(values):.3g}"
        to = f"{ratio(seconds, way, reference):.2f}" if reference in seconds else ""
        yield f"| {WAYS.get(way, way)} | {len(values)} | {median} | {spread} | {to} |"
    yield ""


def _quoted(words: str) -> str:
    """A client's words, in a cell of a table."""
    return "`{}`".format(words.replace("`", "'").replace("|", "\\|"))


_REASONS = 3  # the most frequent ones; all of them are in the raw figures


def _rollouts(raw: Raw) -> Iterator[str]:
    yield """\
## Builds lost in rollouts

Four clients build all the time, each one step after the other of 1, 6, 20 and 90 seconds, while
`kubectl rollout restart` replaces buildkitd; the next rollout follows when each client has ended a
build. 30 seconds is what Kubernetes gives a pod to end unless its manifest says otherwise.

| | rollouts | builds | lost | most frequent last words of those lost |
|---|---|---|---|---|"""
    for way, of in raw["rollouts"].items():
        reasons = "; ".join(
            f"{count} times {_quoted(line)}" for line, count in of["reasons"].items()
        )
        yield f"| {WAYS[way]} | {of['rollouts']} | {of['builds']} | {of['lost']} | {reasons} |"
    yield ""


def _holds(raw: Raw) -> Iterator[str]:
    yield f"""\
## The longest hold

How long a build waits that is begun while there is no buildkitd pod, before its client gives up.
The gateways are told to hold for {raw["hold"]} seconds.

| | client | seconds | last words |
|---|---|---|---|"""
    for way, clients in raw["holds"].items():
        for name, end in sorted(clients.items()):
            yield f"| {WAYS[way]} | {name} | {end['seconds']:.3g} | {_quoted(end['said'])} |"
    yield ""


def _memory(raw: Raw) -> Iterator[str]:
    yield """\
## Memory of the gateway

The working set of one pod, which is what the kubelet holds against a limit.

| idle clients | MB |
|---|---|"""
    for clients, megabytes in raw["memory"].items():
        yield f"| {int(clients):,} | {megabytes:.0f} |"
    yield ""


_CHOSEN = {
    "hostName": "`farm.routing: hostName`, each project dials its name",
    "random": "no farm: the Service chooses, at random",
}


def _farm(raw: Raw) -> Iterator[str]:
    if "farm" not in raw:
        return
    farm, fewer, more = raw["farm"], raw["farm"]["daemons"], raw["farm"]["daemons"] + 1
    yield f"""\
## Farms and zero

Each of {farm["projects"]} projects is built twice, by buildctl, over {fewer} buildkitds: the steps
of the second builds, and those of them that were in the cache.

| | steps | in the cache | share |
|---|---|---|---|"""
    for way, name in _CHOSEN.items():
        of = farm["cached"][way]
        yield f"| {name} | {of['steps']} | {of['cached']} | {_share(of):.2f} |"
    yield f"""
Of {farm["names"]} projects those that meet another buildkitd than before. With {more} of them one
in {more} has to.

| | moved | share | ideal |
|---|---|---|---|"""
    for way, title, ideal in (
        ("up", f"from {fewer} buildkitds to {more}", f"{1 / more:.2f}"),
        ("down", f"from {more} to {fewer}", f"{1 / more:.2f}"),
        ("both", "there and back", "0.00"),
    ):
        moved = farm["moved"][way]
        yield f"| {title} | {moved} | {moved / farm['names']:.2f} | {ideal} |"
    yield """
From a small build that finds no buildkitd, with `autoscaling: {min: 0, max: 1}` and the image on
the node, to its end:

| client | builds | lost | median, s | range, s |
|---|---|---|---|---|"""
    for client, of in farm["zero"].items():
        seconds = of["seconds"]
        spread = f"{min(seconds):.3g} to {max(seconds):.3g}" if seconds else ""
        median = f"{statistics.median(seconds):.3g}" if seconds else ""
        yield f"| {client} | {len(seconds) + of['lost']} | {of['lost']} | {median} | {spread} |"
    yield ""
