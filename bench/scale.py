"""What bench.ring measured, and what follows from it, as a page: docs/farms-at-scale.md."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Raw = dict[str, Any]
"""What one run measured, as in docs/farms-at-scale.json."""

POLICIES = {"MAGLEV": "Maglev, this program's", "RING_HASH": "`RING_HASH`"}
"""What the page calls them."""

_CONFIG_MAP = 2**20  # bytes; the most that Kubernetes takes
_TIME_WAIT = 120  # seconds; Linux's nf_conntrack_tcp_timeout_time_wait
_LOOKUPS = 5  # seconds from one lookup of a name to the next, Envoy's default
_TEAMS = 10


def page(raw: Raw) -> str:
    """docs/farms-at-scale.md."""
    parts = (_head, _limits, _rest, _starts, _rings, _cluster)
    return "\n".join(line for part in parts for line in part(raw))


@dataclass(frozen=True)
class Largest:
    """The largest farm, and what one pod of its gateway needed."""

    pods: int
    gateway: Raw
    ring: Raw

    @classmethod
    def of(cls, raw: Raw) -> "Largest":
        """That of a run."""
        pods = max(map(int, raw["gateways"]))
        return cls(pods, raw["gateways"][str(pods)], raw["rings"][str(pods)])

    @property
    def queries(self) -> float:
        """DNS queries a second."""
        return self.gateway["rest"]["queries"]

    @property
    def checks(self) -> float:
        """Health checks a second."""
        return self.gateway["rest"]["checks"]

    @property
    def complete(self) -> list[float]:
        """Seconds from each start until all pods were known."""
        return [start["complete"] for start in self.gateway["starts"]]


def _head(raw: Raw) -> Iterator[str]:
    yield f"""\
# A farm of {Largest.of(raw).pods:,} daemons and {raw["projects"]:,} projects

What grows with [a farm](farms.md), which limit comes first, and what to do at which size.

The tables are **measured**, by `python -m bench.ring`, as root, in {raw["minutes"]:.0f} minutes:
a real Envoy with this program's own configuration, stand-ins for the pods and for the cluster's
DNS, on the loopback of one machine. What is marked as **reasoned** follows from them, from the
configuration and from Kubernetes' documented defaults. No cluster with so many pods has run. The
raw figures are in [farms-at-scale.json](farms-at-scale.json).

Commit {raw["commit"]}, {raw["date"]}, {raw["machine"]}.
"""


def _limits(raw: Raw) -> Iterator[str]:
    largest = Largest.of(raw)
    pods, fullest = largest.pods, largest.ring["MAGLEV"]["fullest"]
    yield f"""\
## Which limit comes first

The figures are measured, what they mean is reasoned:

1. **DNS.** With {pods:,} pods each pod of the gateway asks {largest.queries:,.0f} times a second,
   whoever builds: {largest.queries / pods:.1f} for each pod of the farm.
2. **A gateway pod that has just started** knows all {pods:,} after {_range(largest.complete)} s,
   and takes builds before. A project may meet another daemon meanwhile, with a cold cache; its
   build does not fail.
3. **The fullest daemon** has {fullest:.1f} times as many projects as the mean. Size pods for it.

Memory and processors of the gateway come later, and the number of projects is no limit: of a name
nothing is kept. What needs memory is [clients](benchmarks.md#memory-of-the-gateway).

What to do, reasoned:

| pods | |
|---|---|
| to 100 | nothing |
| to 300 | watch CoreDNS |
| to {pods:,} | NodeLocal DNSCache on the gateway's nodes; roll the gateway out when few build |
| more | several farms: `farm.replicas.max` ends there |

`farm.replicas.max` is what counts, not how many run: each name that there may be is asked for.
Nothing in the configuration makes the gateway ask less often.

**Several farms** are several stacks, such as one for each team, with a domain
(`shop.team-a.builds.example.com`) and a gateway each. {_TEAMS} of {pods // _TEAMS} ask the DNS as
often as one of {pods:,}, but each starts as fast as a small one, and a rollout or a mistake is
one team's. Where teams should not share a list of clients, that comes long before any limit.
"""


def _rest(raw: Raw) -> Iterator[str]:
    yield f"""\
## One gateway pod while nobody builds

Over {raw["rest"]} s. Up to 399 pods each is asked every second whether it takes new builds; with
more of them less often, about 200 in a second, and one that drains is seen some seconds later.

| pods | memory, MB | processors | DNS queries/s | health checks/s | configuration, kB |
|---|---|---|---|---|---|"""
    for pods, of in raw["gateways"].items():
        rest = of["rest"]
        yield (
            f"| {_pods(pods)} | {rest['MB']:.0f} | {rest['cpu']:.3f} | {rest['queries']:,.0f} "
            f"| {rest['checks']:.0f} | {of['configuration'] / 1e3:.0f} |"
        )
    yield ""


def _starts(raw: Raw) -> Iterator[str]:
    yield """\
## A gateway pod starts

It is ready when the first name is known. It looks all of them up at once, and a UDP socket's buffer
has room for a few hundred datagrams: what is lost is asked again when its time is over.

| pods | starts | ready, s | known then | all known, s | DNS queries by then | datagrams lost |
|---|---|---|---|---|---|---|"""
    for pods, of in raw["gateways"].items():
        starts = of["starts"]
        found = {key: [start[key] for start in starts] for key in starts[0]}
        yield (
            f"| {_pods(pods)} | {len(starts)} | {_range(found['ready'])} "
            f"| {_range(found['known when ready'], 0)} | {_range(found['complete'])} "
            f"| {_range(found['queries'], 0)} | {_range(found['lost'], 0)} |"
        )
    yield ""


def _rings(raw: Raw) -> Iterator[str]:
    yield f"""\
## Who moves when a pod goes or comes

{raw["projects"]:,} names, for each of which Envoy chose a pod. *Needlessly* moves who goes from one
pod that stays to another; the others had to. *Ideal* is one of N, where N is the larger number of
pods: a certain pod has more or fewer. *Fullest*: the projects of the pod with most, to the mean.

| pods | | one goes: moved | ideal | needlessly | one comes: moved | ideal | needlessly | fullest |
|---|---|---|---|---|---|---|---|---|"""
    for pods, policies in raw["rings"].items():
        for policy, name in POLICIES.items():
            of = policies[policy]
            yield (
                f"| {int(pods):,} | {name} | {_moved(of['goes'], int(pods))} "
                f"| {_moved(of['comes'], int(pods) + 1)} | {of['fullest']:.2f} |"
            )
    few, many = (raw["rings"][str(end(map(int, raw["rings"])))] for end in (min, max))
    yield f"""
Neither is best everywhere. With few pods `RING_HASH` moves {_needless(few["RING_HASH"]):,} projects
needlessly where Maglev moves {_needless(few["MAGLEV"])}, a pod that goes and one that comes
together. With the most pods it is {_needless(many["RING_HASH"])} against \
{_needless(many["MAGLEV"])}, and its fullest pod has {many["RING_HASH"]["fullest"]:.1f} times the
mean where Maglev's has {many["MAGLEV"]["fullest"]:.1f}: a few cold builds weigh less than a pod
that is too small all the time.
"""


def _cluster(raw: Raw) -> Iterator[str]:
    largest = Largest.of(raw)
    pods, rest, slices = largest.pods, largest.gateway["rest"], largest.pods // 100
    lookup = largest.queries * _LOOKUPS / pods
    yield f"""\
## What else has to do

Reasoned, with {pods:,} pods:

- **CoreDNS.** Envoy looks each name up every {_LOOKUPS} s, whatever its TTL, for IPv6 and then for
  IPv4. `buildkitd-0.buildkitd-pods.build.svc` has fewer dots than a pod's `ndots:5`, so that it is
  looked for in three search domains and as it is: {lookup:.0f} queries, one of which finds
  something. A fourth search domain, as clouds have, makes one more. What is asked as it is leaves
  the cluster, unless CoreDNS has it in its cache. All that one socket asks goes to one replica of
  CoreDNS, and a gateway pod opens {rest["sockets"]:.0f} new ones a second: the load is shared. A
  cache on the node answers most of it, but does not make a start shorter.
- **kube-proxy** has {pods:,} endpoints behind buildkitd's ClusterIP, {slices} EndpointSlices of
  100, and the headless Service has {slices} more. A pod that becomes ready, or not, changes one
  of each, which goes to every node. Builds do not pass there while any pod is well.
- **conntrack.** A health check is a connection of its own, which the gateway closes: an entry for
  {_TIME_WAIT} s, so {largest.checks * _TIME_WAIT:,.0f} on the node of a gateway pod, of at least
  131,072 that kube-proxy sets. At a check a second for each it would be {pods * _TIME_WAIT:,}.
- **KEDA** sends each gateway pod two requests every 2 s, however many daemons there are. The HPA
  doubles their number every 15 s at most: from 1 to {pods:,} in two minutes, if the nodes are
  there. Builds go to those that are there meanwhile. All claims are made at once.
- **The ConfigMap** of the gateway may have {_CONFIG_MAP / 1e3:,.0f} kB; {pods:,} pods take
  {largest.gateway["configuration"] / _CONFIG_MAP:.0%} of them.
"""


def _pods(number: str) -> str:
    return f"{int(number):,}" if int(number) else "no farm"


def _moved(of: Raw, pods: int) -> str:
    return f"{of['moved']:.2%} | {1 / pods:.2%} | {of['needlessly']:,}"


def _needless(of: Raw) -> int:
    return of["goes"]["needlessly"] + of["comes"]["needlessly"]


def _range(values: Sequence[float], digits: int = 1) -> str:
    ends = [f"{end:,.{digits}f}" for end in (min(values), max(values))]
    return " to ".join(dict.fromkeys(ends))
