"""The calls that services make while a client waits: when each began, and how long it took."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench.collector import Collector, Span


@dataclass(frozen=True)
class Period:
    """From a client's first byte to its last, in nanoseconds since the epoch."""

    begun_ns: int
    over_ns: int

    @property
    def seconds(self) -> float:
        """How long it is."""
        return (self.over_ns - self.begun_ns) / 1e9


def calls(periods: Sequence[Period], collector: Collector, digits: int) -> list[dict[str, object]]:
    """Return the calls of a period: when they began, how long they took; medians in ms."""
    found: dict[tuple[str, str, int], list[tuple[float, float]]] = defaultdict(list)
    for period in periods:
        seen: Counter[tuple[str, str]] = Counter()
        for span in collector.between(period.begun_ns, period.over_ns):
            name = short(span)
            seen[name] += 1
            timing = (
                (span.begin_ns - period.begun_ns) / 1e6,
                (span.end_ns - span.begin_ns) / 1e6,
            )
            found[(*name, seen[name])].append(timing)
    rows: list[dict[str, object]] = [
        {
            "service": service,
            "call": call if number == 1 else f"{call} ({number})",
            "runs": len(timings),
            "begins": round(median(begin for begin, _ in timings), digits),
            "takes": round(median(taken for _, taken in timings), digits),
            "least": round(min(taken for _, taken in timings), digits),
        }
        for (service, call, number), timings in found.items()
        # What isn't in most runs is somebody else's: a refill, a reconciler.
        if len(timings) * 2 > len(periods)
    ]
    return sorted(rows, key=lambda row: float(str(row["begins"])))


def short(span: Span) -> tuple[str, str]:
    """Return service and method of a span; of an HTTP request, its method and path without IDs."""
    path = re.sub(r"[0-9a-f]{64}", "ID", span.path)
    return span.service, f"{span.name} {path}" if path else span.name.rpartition("/")[2]


def print_calls(table: Sequence[dict[str, object]]) -> None:
    """Print calls for people."""
    print(f"\n{'service':<12}{'call':<44}{'runs':>6}{'begins':>10}{'takes':>10}{'least':>10}")
    for row in table:
        print(f"{row['service']:<12}{row['call']:<44}{row['runs']:>6}", end="")
        print(f"{row['begins']:>7} ms{row['takes']:>7} ms{row['least']:>7} ms")
