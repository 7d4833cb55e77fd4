"""How fast a layer becomes a disk: `python bench/compile.py LAYER.tar.gz …`

For each layer, in one run and on the same disk: inflate, SHA-256 and write one after another, as
the least that any engine has to do; the compiler alone on a plain tar; and the whole way of a
pull, inflating and hashing in a thread beside the compiler. All ends with fsync. The median of
`--runs` is printed, and all figures go to a JSON file.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from isal import igzip

from services.storage.compiler import compile_layer, create_base
from services.storage.imagec.inflate import InflateLimits, Inflater, ReadAhead
from services.storage.vmdk import create_disk

CHUNK = 1 << 20


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor seconds."""
    gc.collect()
    os.sync()
    processor = time.process_time()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start, time.process_time() - processor


def least(layer: Path, out: Path) -> None:
    """Inflate, hash and write, one after another."""
    digest = hashlib.sha256()
    with igzip.open(layer, "rb") as stream, out.open("wb", buffering=0) as file:  # type: ignore[no-untyped-call]
        while data := stream.read(CHUNK):
            digest.update(data)
            file.write(data)
        os.fsync(file.fileno())


def inflate(layer: Path) -> None:
    """Only inflate."""
    with igzip.open(layer, "rb") as stream:  # type: ignore[no-untyped-call]
        while stream.read(CHUNK):
            pass


def alone(tar: Path, base: Path, out: Path) -> None:
    """Only compile, from a plain tar."""
    with tar.open("rb", buffering=0) as stream:
        compile_layer(stream, base, out, chain_id=tar.name)


def pull(layer: Path, base: Path, out: Path) -> None:
    """Inflate and hash beside the compiler."""
    with layer.open("rb") as blob, ReadAhead(Inflater(blob, InflateLimits())) as ahead:
        compile_layer(ahead, base, out, chain_id=layer.name)
        ahead.finish()


def measure(layer: Path, runs: int, directory: Path) -> dict[str, Any]:
    """All figures of one layer; seconds."""
    base = directory / "base.vmdk"
    create_base(base)
    tar = directory / "layer.tar"
    with igzip.open(layer, "rb") as stream, tar.open("wb") as file:  # type: ignore[no-untyped-call]
        shutil.copyfileobj(stream, file, CHUNK)
    out = directory / "out"
    works: dict[str, Callable[[], object]] = {
        "inflate": lambda: inflate(layer),
        "inflate+sha256+write": lambda: least(layer, out),
        "compile alone": lambda: alone(tar, base, out),
        "pull (inflate, sha256, compile)": lambda: pull(layer, base, out),
    }
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for _ in range(runs):
        for name, work in works.items():
            # Freeing what an earlier run left is nobody's time.
            out.unlink(missing_ok=True)
            seconds[name].append(timed(work))
    out.unlink(missing_ok=True)
    compile_layer(tar.open("rb", buffering=0), base, directory / "layer.vmdk", chain_id="x")
    child = directory / "child.vmdk"
    seconds["create a container's disk"] = [
        timed(lambda: create_disk(child, parent=directory / "layer.vmdk", name="c"))
        for _ in range(runs)
    ]
    return {
        "layer": str(layer),
        "bytes": tar.stat().st_size,
        "compressed": layer.stat().st_size,
        "seconds": {
            name: {
                "min": min(wall for wall, _ in values),
                "median": statistics.median(wall for wall, _ in values),
                "max": max(wall for wall, _ in values),
                "processor": statistics.median(processor for _, processor in values),
            }
            for name, values in seconds.items()
        },
    }


def show(result: dict[str, Any]) -> None:
    """Print a table."""
    size = result["bytes"] / 1e6
    print(f"{result['layer']}: {size:.0f} MB, {result['compressed'] / 1e6:.0f} MB compressed")
    reference = result["seconds"]["inflate+sha256+write"]["median"]
    for name, values in result["seconds"].items():
        median = values["median"]
        ratio = median / reference
        rate = f"{size / median:8.0f} MB/s" if "disk" not in name else " " * 13
        print(f"  {name:34}{median * 1000:9.1f} ms {rate} {ratio:6.2f}×", end="")
        print(f"  (processor {values['processor'] * 1000:.0f} ms, min {values['min'] * 1000:.1f})")


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("layers", nargs="+", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--directory", type=Path, help="where to write; a temporary one without")
    parser.add_argument("--json", type=Path, default=Path("bench-compile.json"))
    arguments = parser.parse_args()
    results = []
    for layer in arguments.layers:
        with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
            results.append(measure(layer, arguments.runs, Path(directory)))
        show(results[-1])
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
    report = {
        "machine": platform.platform(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "commit": commit.stdout.strip(),
        "results": results,
    }
    arguments.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
