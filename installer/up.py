"""`vic up`: make what an instance needs, start it, and say how to use it."""

import compileall
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from installer.bootstrap import provide_bootstrap, prune_cache
from installer.checks import require_machine, require_root
from installer.containers import check_switch, compose_command, lay_out_containers
from installer.control import ask
from installer.endpoint import note_bound, parse_endpoint
from installer.endpoint_tls import lay_out_tls
from installer.errors import (
    InstallerError,
    NotRunningError,
    PreconditionError,
)
from installer.images import check_change, lay_out_images
from installer.instance import (
    Instance,
    Options,
    amend_record,
    check_data_dir,
    default_options,
    load_instance,
    new_instance_id,
    no_data_dir,
    save_instance,
)
from installer.kernels import provide_kernels
from installer.layout import DATA_DIR_MODE, lay_out, lay_out_identities
from installer.processes import processes_of_slot
from installer.roles import first_uid
from installer.slots import claim_slot
from installer.stores import lay_out_stores, locate, store_directories
from installer.teardown import clear_slot, tear_down
from installer.view import code_directories
from installer.watching import end_stale_services, run_watcher
from installer.wishes import Wishes

IP_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")

Say = Callable[[str], None]


def bring_up(wishes: Wishes, say: Say) -> Instance:
    """Start the suite, or mend and reconfigure the one that runs. Returns the instance.

    Raises InstallerError; nothing is left running by a start that failed.
    """
    require_root("up")
    data_dir = check_data_dir(wishes.data_dir)
    check_usable(data_dir)
    known = load_instance(data_dir)
    options = wishes.options(known.options if known else default_options(data_dir))
    with lock_data_dir(data_dir):
        known = load_instance(data_dir)
        running = known is not None and is_running(known)
        check_change(data_dir, known.options if known else None, options, running=running)
        if known is not None and running:
            if wishes.bootstrap is not None:
                raise PreconditionError(
                    "run `vic down` before you give the suite another bootstrap image"
                )
            instance = _reconfigure(known, options, say)
        else:
            if options.driver == "qemu":
                require_machine()
            instance = _start(data_dir, known, options, wishes.bootstrap, say)
        if options.container_networks:
            from installer.container_networks import map_recorded

            map_recorded(instance, say)
        return instance


def check_usable(data_dir: Path) -> None:
    """Raise PreconditionError for a directory that others use, such as a home or ``/tmp``.

    An instance takes its directory for itself: others may list it no more, and what has the name of
    something of the instance's becomes the instance's.
    """
    try:
        if load_instance(data_dir) is not None:
            return
        strangers = sorted(path.name for path in data_dir.iterdir() if path.name != "lost+found")
        status = data_dir.stat()
    except FileNotFoundError:
        return
    if strangers and (status.st_uid != 0 or stat.S_IMODE(status.st_mode) != DATA_DIR_MODE):
        raise PreconditionError(
            f"{data_dir} has other things in it ({', '.join(strangers[:3])}), and an instance "
            "needs a directory for itself: name one of its own with --data-dir, or, where all in "
            f"it is meant for the instance, `chown root {data_dir}` and "
            f"`chmod {DATA_DIR_MODE:o} {data_dir}`"
        )


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
    try:
        data_dir.mkdir(mode=DATA_DIR_MODE, parents=True, exist_ok=True)
    except OSError as error:
        raise no_data_dir(data_dir, error) from error
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
        end_stale_services(instance)
        listener = None
        if not instance.in_containers:
            endpoint = parse_endpoint(options.host)
            listener = undo.enter_context(endpoint.listen())
            note_bound(endpoint, instance.endpoint_note)
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
            run_watcher(instance, claim, listener, say)
        except BaseException:
            if not processes_of_slot(instance.slot):  # no machines of an earlier run
                tear_down(instance, say, claim)
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
