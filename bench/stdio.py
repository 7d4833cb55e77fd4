"""How fast bytes go through a container: out of it, and into it.

By the docker CLI, as a person's pipe does: `docker run` of a command that writes so much, and
`docker run -i` of one that reads it. What comes out is compared with what went in, to the byte;
what goes in is kept in the container's memory and hashed when the time was taken, since an emulated
guest's SHA-256 takes more than half as long as bringing the bytes there.
``--peer`` measures Debian's dockerd beside it, turn by turn.
"""

import argparse
import hashlib
import os
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from bench.peer import dockerd
from bench.report import Series, report
from bench.start import Engine
from bench.subject import accounted_suite, come_up
from tests.e2e.suite import docker_cli
from tests.images import Registry, busybox_image

MEBIBYTE = 1024 * 1024
WRITE, READ = "standard output", "standard input"


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10, help="runs (default: %(default)s)")
    parser.add_argument("--size", type=int, default=100, help="MiB a run (default: %(default)s)")
    parser.add_argument("--peer", action="store_true", help="beside Debian's dockerd")
    parser.add_argument("--out", type=Path, default=Path("stdio.json"), help="JSON file to write")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    with ExitStack() as stack:
        registry = stack.enter_context(Registry())
        suite, account = stack.enter_context(accounted_suite())
        with account.charged():
            come_up(suite)
        image = registry.push(busybox_image(), "busybox")
        engines = [Engine("vic", suite.endpoint, account)]
        if arguments.peer:
            engines.append(Engine("dockerd", *stack.enter_context(dockerd())))
        for engine in engines:
            engine.docker("pull", image)
            engine.docker("run", "--rm", image, "true")
        source = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "input"
        sent = _fill(source, arguments.size)
        seconds: dict[tuple[str, str], list[float]] = {}
        for _ in range(arguments.count):
            for engine in engines:
                for way in (WRITE, READ):
                    took = _measure(engine, image, way, arguments.size, source, sent)
                    seconds.setdefault((way, engine.name), []).append(took)
    series = [Series(f"{way}, {name}", tuple(took)) for (way, name), took in seconds.items()]
    facts: dict[str, object] = {"load before": round(load, 2), "MiB a run": arguments.size}
    for one in series:
        rates = one.figures()
        facts[f"{one.name}, MB/s"] = round(arguments.size * MEBIBYTE / rates["median"] / 1e6, 1)
        facts[f"{one.name}, MB/s at best"] = round(
            arguments.size * MEBIBYTE / rates["min"] / 1e6, 1
        )
    report("bytes through `docker run`, first to last", series, facts, arguments.out)


def _fill(source: Path, size: int) -> str:
    """Write random bytes; return their SHA-256."""
    digest = hashlib.sha256()
    with source.open("wb") as file:
        for _ in range(size):
            part = os.urandom(MEBIBYTE)
            digest.update(part)
            file.write(part)
    return digest.hexdigest()


def _measure(engine: Engine, image: str, way: str, size: int, source: Path, sent: str) -> float:
    """Return the seconds between a run's first byte and its last."""
    options: list[str] = []
    if way == WRITE:
        command = ["dd", "if=/dev/zero", "bs=65536", f"count={size * 16}"]
        expected = hashlib.sha256(bytes(MEBIBYTE) * size).hexdigest()
    else:
        # It says when it is there, so that its start doesn't count, and when it has all.
        options = ["--tmpfs", f"/in:size={size + 1}m"]
        command = ["sh", "-c", "echo; cat > /in/all; echo; exec sha256sum /in/all"]
        expected = sent
    process = subprocess.Popen(
        [docker_cli(), "-H", engine.endpoint, "run", "--rm", "-i", *options, image, *command],
        stdin=subprocess.PIPE if way == READ else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    first = process.stdout.read(1)
    begun = time.perf_counter()
    if way == WRITE:
        digest = hashlib.sha256(first)
        while part := process.stdout.read(MEBIBYTE):
            digest.update(part)
        took = time.perf_counter() - begun
        told = digest.hexdigest()
    else:
        assert process.stdin is not None
        with source.open("rb") as file:
            while part := file.read(MEBIBYTE):
                process.stdin.write(part)
        process.stdin.close()
        process.stdout.read(1)
        took = time.perf_counter() - begun
        told = process.stdout.read().split()[0].decode()
    process.stdout.close()
    if process.wait() != 0 or told != expected:
        raise SystemExit(f"{engine.name}: {way} is not what it was: {told}, not {expected}")
    return took


if __name__ == "__main__":
    main()
