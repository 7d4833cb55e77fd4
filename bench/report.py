"""How a bench tells its figures: a table for people, JSON for whoever compares runs."""

import json
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Series:
    """Seconds that the repetitions of one piece of work took, in their order."""

    name: str
    seconds: tuple[float, ...]

    def figures(self) -> dict[str, float]:
        """Return the figures of the whole series, and the median of its last 50."""
        ordered = sorted(self.seconds)
        return {
            "count": len(ordered),
            "min": ordered[0],
            "median": median(ordered),
            "p95": ordered[min(len(ordered) * 95 // 100, len(ordered) - 1)],
            "max": ordered[-1],
            "median_of_last_50": median(self.seconds[-50:]),
        }


@dataclass(frozen=True)
class Machine:
    """Where a bench was run."""

    processor: str
    cpus: int
    memory_bytes: int
    kernel: str
    python: str
    vic: str
    commit: str

    @classmethod
    def here(cls) -> "Machine":
        """Return this machine."""
        model = [
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ]
        commit = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"],
            capture_output=True,
            text=True,
            check=False,
        )
        return cls(
            processor=model[0] if model else platform.machine(),
            cpus=os.cpu_count() or 1,
            memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            kernel=platform.release(),
            python=platform.python_version(),
            vic=version("vic"),
            commit=commit.stdout.strip(),
        )


def report(
    subject: str,
    series: Sequence[Series],
    facts: dict[str, Any],
    out: Path,
    *,
    digits: int = 0,
) -> None:
    """Print a table of all series in milliseconds, and write everything to a JSON file."""
    columns = ("count", "min", "median", "p95", "max", "median_of_last_50")
    print(
        f"\n{subject}\n{'':<32}" + "".join(f"{column:>12}" for column in columns[:-1]) + "  last 50"
    )
    for one in series:
        figures = one.figures()
        cells = [f"{figures['count']:>12}"]
        cells += [f"{figures[column] * 1000:>9.{digits}f} ms" for column in columns[1:]]
        print(f"{one.name:<32}" + "".join(cells))
    for name, fact in facts.items():
        if not isinstance(fact, list):
            print(f"{name:<32}{fact}")
    content = {
        "subject": subject,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": asdict(Machine.here()),
        "facts": facts,
        "series": [
            {"name": one.name, **one.figures(), "seconds": list(one.seconds)} for one in series
        ],
    }
    out.write_text(json.dumps(content, indent=2) + "\n")
    print(f"written to {out}")
