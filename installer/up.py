"""`vic up`: make what an instance needs, start it, and say how to use it."""

import compileall
import fcntl
import json
import os
import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from installer.bootstrap import provide_bootstrap, prune_cache
from installer.checks import require_machine, require_root
from installer.containers import check_switch, compose_command, lay_out_containers, settled
from installer.control import ask
from installer.endpoint import check_port, parse_endpoint
from installer.endpoint_tls import check_tls, lay_out_tls
from installer.errors import (
    InstallerError,
    NotRunningError,
    PreconditionError,
    StartError,
    UsageError,
)
from installer.images import ImageWishes, check_change, lay_out_images
from installer.instance import (
    AS_CONTAINERS,
    Instance,
    Options,
    amend_record,
    check_data_dir,
    default_options,
    load_instance,
    new_instance_id,
    save_instance,
)
from installer.kernels import provide_kernels
from installer.launch import service_environment
from installer.layout import lay_out, lay_out_identities
from installer.processes import processes_of_slot, stop_process
from installer.records import WATCHER, load_processes
from installer.registries import RegistryWishes
from installer.roles import first_uid
from installer.slots import SlotClaim, claim_slot
from installer.stores import lay_out_stores, locate, parse_stores, store_directories
from installer.teardown import clear_slot, tear_down
from installer.view import code_directories
from portlayer.identity import Role

IP_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
START_SECONDS = 180.0
STALE_SECONDS = 20.0
LOG_LINES = 15
REGISTRY = re.compile(r"([A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Wishes:
    """What the command line of `vic up` says; None leaves what was remembered."""

    data_dir: Path
    host: str | None = None
    insecure_registries: tuple[str, ...] | None = None
    registry_mirrors: tuple[str, ...] | None = None
    registries: RegistryWishes = field(default_factory=RegistryWishes)
    log_level: str | None = None
    otlp_endpoint: str | None = None
    volume_stores: tuple[str, ...] | None = None
    images: ImageWishes = field(default_factory=ImageWishes)
    tls_verify: bool | None = None
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    bootstrap: Path | None = None
    facets: str | None = None
    configures: bool = False
    """Whether exec is to be configured as soon as it is up."""

    def options(self, remembered: Options) -> Options:
        """Return the remembered options with what is wished for now."""
        self._check_registries()
        wished: dict[str, Any] = {
            "host": None if self.host is None else str(parse_endpoint(self.host)),
            "insecure_registries": self.insecure_registries,
            "registry_mirrors": self.registry_mirrors,
            **self.registries.options(),
            **self.images.options(),
            "log_level": self.log_level,
            "otlp_endpoint": self.otlp_endpoint,
            "facets": self.facets,
            "volume_stores": None
            if self.volume_stores is None
            else parse_stores(self.volume_stores),
        }
        wished |= self._tls()
        options = replace(remembered, **{k: v for k, v in wished.items() if v is not None})
        if options.facets == AS_CONTAINERS:
            if self.configures:
                raise UsageError(
                    "--ready-clones: exec comes up after `vic up` where facets run in containers; "
                    "run `vic configure --ready-clones` once it is there"
                )
            data_dir = check_data_dir(self.data_dir)
            options = settled(options, data_dir, host_said=self.host is not None)
        endpoint = parse_endpoint(options.host)
        check_port(endpoint)
        check_tls(options, endpoint)
        return options

    def _tls(self) -> dict[str, Any]:
        """Return what is said of TLS; another endpoint begins without, unless it is said again."""
        brought = {"tls_ca": self.tls_ca, "tls_cert": self.tls_cert, "tls_key": self.tls_key}
        paths = {name: path and str(path.absolute()) for name, path in brought.items()}
        if self.host is not None and self.tls_verify is None:
            return {"tls_verify": False} | {name: path or "" for name, path in paths.items()}
        return {"tls_verify": self.tls_verify, **paths}

    def _check_registries(self) -> None:
        """Raise UsageError for what the storage service could not start with."""
        from services.storage.imagec.endpoints import Endpoints

        for entry in self.insecure_registries or ():
            try:
                Endpoints(insecure=[entry])
                valid = "/" in entry or bool(REGISTRY.fullmatch(entry))
            except ValueError:
                valid = False
            if not valid:
                raise UsageError(
                    f"invalid --insecure-registry {entry!r}: expected HOST, HOST:PORT or a network "
                    "such as 10.0.0.0/8"
                )
        for url in self.registry_mirrors or ():
            try:
                Endpoints(mirrors=[url])
            except ValueError:
                raise UsageError(
                    f"invalid --registry-mirror {url!r}: expected https://HOST[:PORT]"
                ) from None


def bring_up(wishes: Wishes, say: Say) -> Instance:
    """Start the suite, or mend and reconfigure the one that runs. Returns the instance.

    Raises InstallerError; nothing is left running by a start that failed.
    """
    require_root("up")
    data_dir = check_data_dir(wishes.data_dir)
    known = load_instance(data_dir)
    options = wishes.options(known.options if known else default_options(data_dir))
    with lock_data_dir(data_dir):
        known = load_instance(data_dir)
        running = known is not None and is_running(known)
        check_change(data_dir, known.options if known else None, options, running=running)
        if known is not None and running:
            instance = _reconfigure(known, options, say)
        else:
            if options.driver == "qemu":
                require_machine()
            instance = _start(data_dir, known, options, wishes.bootstrap, say)
        if options.container_networks:
            from installer.container_networks import map_recorded

            map_recorded(instance, say)
        return instance


def is_running(instance: Instance) -> bool:
    """Tell whether the instance's watcher answers."""
    try:
        ask(instance.control_socket, "status")
    except NotRunningError:
        return False
    return True


@contextmanager
def lock_data_dir(data_dir: Path) -> Iterator[None]:
    """Keep other `vic up` and `vic down` of this data directory out.

    Raises PreconditionError when one is at work.
    """
    data_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
    descriptor = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    with ExitStack() as undo:
        undo.callback(os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PreconditionError(f"another vic command is at work on {data_dir}") from error
        yield


def _reconfigure(running: Instance, options: Options, say: Say) -> Instance:
    if options.facets != running.options.facets:
        raise PreconditionError("run `vic down` before you change whether facets are containers")
    if options.tls_verify != running.options.tls_verify:
        raise PreconditionError("run `vic down` before you change whether the endpoint speaks TLS")
    if options.host != running.options.host:
        raise PreconditionError(
            f"the suite is up at {running.options.host}; run `vic down` before you move it to "
            f"{options.host}"
        )
    if options == running.options:
        say("already up")
        return running
    changed = replace(running, options=options)
    if options.tls_verify:
        lay_out_tls(changed)
    _save(changed, running.options, say)
    if changed.in_containers:
        say(f"now run `{compose_command(changed)} up --detach --force-recreate`")
    say("already up; restarting the services with the new settings")
    ask(changed.control_socket, "restart", seconds=900, role=None)
    return changed


def _start(
    data_dir: Path, known: Instance | None, options: Options, bootstrap: Path | None, say: Say
) -> Instance:
    if known is not None:
        check_switch(known, options)
    instance_id = known.id if known else new_instance_id()
    with ExitStack() as undo:
        clear = partial(clear_slot, say=say)
        claim = claim_slot(instance_id, data_dir, known.slot if known else None, clear)
        undo.callback(claim.drop)
        instance = Instance(data_dir, instance_id, claim.slot, options)
        if options.driver == "vsphere":
            from installer.vsphere.management import require_address
            from installer.vsphere.standing import check_standing

            if known is not None:
                # Where it is refused the next one is for the same address, if nobody takes it.
                amend_record(instance, slot=instance.slot)
            give_credentials(instance)
            try:
                require_address(instance)
                check_standing(instance)
            except InstallerError:
                if not instance.processes_file.exists():
                    # Nothing of it is here, so that nobody is to clear the slot of it.
                    claim.path.unlink(missing_ok=True)
                raise
        _end_stale_services(instance)
        listener = None
        if not instance.in_containers:
            listener = undo.enter_context(parse_endpoint(options.host).listen())
        lay_out(instance)
        _save(instance, known.options if known else None, say)
        lay_out_identities(instance)
        if options.tls_verify:
            lay_out_tls(instance)
        if instance.in_containers:
            lay_out_containers(instance)
        if options.driver == "qemu":
            default = provide_bootstrap(instance, bootstrap)
            provide_kernels(instance, default, say)
            prune_cache(keep=default)
            allow_forwarding()
        compile_code()
        try:
            _run_watcher(instance, claim, listener, say)
        except BaseException:
            if not processes_of_slot(instance.slot):  # no machines of an earlier run
                tear_down(instance, say)
            raise
    return instance


def _save(instance: Instance, known: Options | None, say: Say) -> None:
    """Make ready what is the instance's own in its stores, and write its record.

    A volume store that was `known` before and is away now keeps nothing else from coming up.
    Raises PreconditionError for one that is new, and for an image store.
    """
    before = known.volume_stores if known else {}
    for name, url in instance.options.volume_stores.items():
        if before.get(name) != url:
            locate(url)
    directories, faults = store_directories(instance, before)
    images = lay_out_images(instance, known.image_store if known else None)
    for fault in faults:
        say(f"{fault}; its volumes can't be used")
    lay_out_stores(instance, directories)
    save_instance(instance, directories, images)


def _end_stale_services(instance: Instance) -> None:
    """End services whose watcher was killed; they were told to by the kernel already."""
    for role, process in load_processes(instance.processes_file).items():
        if role != Role.HOSTAGENT:
            stop_process(process, STALE_SECONDS)


def allow_forwarding() -> None:
    """Have the kernel forward packets, as containers' way out needs.

    It is left so by `vic down`, as Docker leaves it: others may have come to rely on it.
    """
    if IP_FORWARD.read_text().strip() != "1":
        IP_FORWARD.write_text("1\n")


def compile_code() -> None:
    """Compile our packages, which the services' users could not write down."""
    project = code_directories()[-1]
    for package in ("portlayer", "services", "gateway", "hostagent", "installer", "tether"):
        compileall.compile_dir(project / package, quiet=2)
    compileall.compile_dir(project / "protos" / "vic", quiet=2)


def give_credentials(instance: Instance) -> None:
    """Let the services, whose users change with the slot, read what is shown to vCenter."""
    group = first_uid(instance.slot)
    directory = instance.data_dir / "vcenter"
    if not directory.is_dir():
        return  # which is said when somebody logs in
    for path in (directory, *directory.iterdir()):
        os.chown(path, 0, group)
        path.chmod(0o750 if path == directory else 0o640)


def _run_watcher(
    instance: Instance, claim: SlotClaim, listener: socket.socket | None, say: Say
) -> None:
    events, ready = os.pipe2(os.O_CLOEXEC)
    command = [sys.executable, "-m", "installer.watcher", f"--data-dir={instance.data_dir}"]
    command += [f"--slot-fd={claim.descriptor}", f"--ready-fd={ready}"]
    inherited = [claim.descriptor, ready]
    if listener is not None:
        command.append(f"--listen-fd={listener.fileno()}")
        inherited.append(listener.fileno())
    with instance.log_file(WATCHER).open("ab", buffering=0) as log:
        watcher = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=service_environment(instance),
            pass_fds=inherited,
            start_new_session=True,
        )
    os.close(ready)
    try:
        _await_ready(instance, events, say)
    except BaseException:
        _end_watcher(instance, watcher)
        raise
    finally:
        os.close(events)


def _await_ready(instance: Instance, events: int, say: Say) -> None:
    for event in _read_events(events, START_SECONDS):
        match event:
            case {"ready": True}:
                return
            case {"healthy": role}:
                say(f"{role} is up")
            case {"failed": role, "why": why}:
                raise StartError(
                    f"{role} does not start ({why}); the end of {instance.log_file(role)}:\n"
                    + _last_lines(instance.log_file(role))
                )
    log = instance.log_file(WATCHER)
    raise StartError(f"the watcher ended; the end of {log}:\n{_last_lines(log)}")


def _read_events(descriptor: int, seconds: float) -> Iterator[dict[str, Any]]:
    """Yield the watcher's events until it closes its end. Raises StartError past `seconds`."""
    deadline = time.monotonic() + seconds
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    rest = b""
    while True:
        if not poll.poll(max(deadline - time.monotonic(), 0) * 1000):
            raise StartError(f"the suite is not up after {seconds:.0f} s; see its logs")
        chunk = os.read(descriptor, 65_536)
        if not chunk:
            return
        *lines, rest = (rest + chunk).split(b"\n")
        yield from map(json.loads, lines)


def _end_watcher(instance: Instance, watcher: "subprocess.Popen[bytes]") -> None:
    """End what a failed start has started; with machines of an earlier run, not their agent."""
    try:
        ask(instance.control_socket, "shutdown", seconds=60)
    except InstallerError:
        watcher.kill()
    watcher.wait()
    for process in load_processes(instance.processes_file).values():
        stop_process(process, STALE_SECONDS)


def _last_lines(path: Path) -> str:
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError as error:
        return str(error)
    return "\n".join(f"  {line}" for line in lines[-LOG_LINES:])
