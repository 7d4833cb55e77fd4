"""`make demo`: the suite, a registry on loopback with a small image, and a container in its own VM.

Leaves both running, so that you can go on with any Docker client; ``--down`` stops them.
"""

import argparse
import contextlib
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from installer.instance import DEFAULT_DATA_DIR, load_instance
from installer.processes import ProcessName, name_of, stop_process
from installer.records import load_processes, save_processes
from tests.images import Registry, busybox_image

VIC = Path(sys.executable).parent / "vic"
NOBODY = 65534
PREFERRED_PORT = 5000
REGISTRY_DIR = Path("/var/cache/vic/demo-registry")
REGISTRY_CONFIG = REGISTRY_DIR / "config.json"
RECORD = Path("/run/vic/demo/processes.json")
SCRIPT = (
    'echo "I am $(hostname), process $$ of a virtual machine with $(nproc) CPU."; '
    'echo "My own kernel is $(uname -r)."'
)


def main() -> int:
    """Run the demo, or stop what it left running. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--down", action="store_true", help="stop the suite and the registry")
    try:
        return stop() if parser.parse_args().down else demonstrate()
    except subprocess.CalledProcessError as error:
        print(f"demo: {error.cmd[0]} failed with exit code {error.returncode}", file=sys.stderr)
        return 1


def demonstrate() -> int:
    """Start what isn't running, pull the image, run it, and tell how to go on."""
    subprocess.run([VIC, "up"], check=True)
    instance = load_instance(DEFAULT_DATA_DIR)
    assert instance is not None
    endpoint = instance.options.host
    image = push_image(registry())
    show(["docker", "-H", endpoint, "pull", image])
    show(["docker", "-H", endpoint, "run", "--rm", image, "sh", "-c", SCRIPT])
    print(f"(this machine's kernel is {os.uname().release})")
    print(
        f"\nThe suite is still running. Go on with any Docker client:\n\n"
        f"  export DOCKER_HOST={endpoint}\n"
        f"  docker run --rm -it {image}        # the registry on loopback has this one image\n"
        f"  {VIC} status\n"
        f"  make down                          # stops the suite and the registry\n"
    )
    cli = shutil.which("docker")
    if cli is not None and cli.startswith("/var/cache/vic/"):
        print(f"Your machine has no docker CLI of its own; this one will do:\n\n  {cli}\n")
    return 0


def stop() -> int:
    """Stop the suite and the registry; their data stays."""
    for process in load_processes(RECORD).values():
        stop_process(process, seconds=10)
    shutil.rmtree(RECORD.parent, ignore_errors=True)
    if load_instance(DEFAULT_DATA_DIR) is None:
        return 0
    return subprocess.run([VIC, "down"], check=False).returncode


def show(command: list[str]) -> None:
    """Run a command as a user would, and show it."""
    print("$", shlex.join(command))
    sys.stdout.flush()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def registry() -> str:
    """Return the address of the demo's registry, started where it isn't running."""
    if REGISTRY_CONFIG.exists() and load_processes(RECORD):
        return str(json.loads(REGISTRY_CONFIG.read_text())["http"]["addr"])
    address = f"127.0.0.1:{free_port()}"
    data = REGISTRY_DIR / "data"
    data.mkdir(parents=True, exist_ok=True)
    os.chown(data, NOBODY, NOBODY)
    configuration = {
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(data)}},
        "http": {"addr": address, "secret": "of no value on loopback"},
    }
    REGISTRY_CONFIG.write_text(json.dumps(configuration))  # JSON is YAML too
    with (REGISTRY_DIR / "log").open("wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", REGISTRY_CONFIG],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            start_new_session=True,
        )
    name = name_of(process.pid)
    assert name is not None
    save_processes(RECORD, {"registry": name})
    await_listening(address, name)
    return address


def free_port() -> int:
    """Return the usual registry port, or another one where somebody has it."""
    for port in (PREFERRED_PORT, 0):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)) as server:
            return int(server.getsockname()[1])
    raise OSError("no free port on loopback")


def await_listening(address: str, process: ProcessName) -> None:
    """Wait until the registry accepts connections. Raises RuntimeError when it ends instead."""
    host, _, port = address.partition(":")
    # Its log must stay a file, for the time after us, so its first answer is what tells.
    while not process.wait(0.02):
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection((host, int(port))).close()
            return
    raise RuntimeError(f"the registry ended; see {REGISTRY_DIR}/log")


def push_image(address: str) -> str:
    """Put a small image of Debian's busybox into the registry; returns its reference."""
    there = Registry()
    there.address = address
    return there.push(busybox_image(), "busybox")


if __name__ == "__main__":
    sys.exit(main())
