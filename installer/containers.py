"""Facets in containers: what `vic up --facets containers` lays out for docker-compose.yml.

The watcher keeps the host agent alone then, and the facets are whoever's containers: they see the
data directory at its own path, run as the users that they have as processes, and speak to one
another by TCP on loopback. No secret is in the file of settings that compose reads.
"""

import asyncio
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from installer.endpoint import UnixEndpoint, parse_endpoint
from installer.errors import PreconditionError, UsageError
from installer.facet_processes import facet_processes, in_containers_of, kinds
from installer.instance import Instance, Options, write_file
from installer.layout import count_kept
from installer.ownership import own_directory
from installer.probe import docker_probe, grpc_probe
from installer.roles import (
    DATABASE_UID_OFFSET,
    SERVICES,
    database_port,
    facet_port,
    first_uid,
    kind_of,
    uid_of,
)
from installer.supervisor import State
from portlayer.errors import VicError
from portlayer.identity import Role

ON_DATABASE = (Role.EXEC, Role.INTERACTION)
"""Facets whose replicas share a PostgreSQL database, one each."""

SETTINGS = "compose.env"
PASSFILE = "pgpass"
_ASK_SECONDS = 5.0


def settled(options: Options, data_dir: Path, *, host_said: bool) -> Options:
    """Return options under which facets can run in containers. Raises UsageError."""
    if options.driver != "qemu":
        raise UsageError("--facets containers: a VCH on a vCenter is not run so yet")
    if options.volume_stores or options.image_store:
        raise UsageError(
            "--facets containers: storage's container sees the data directory alone; "
            "--volume-store and --image-store are for facets that are processes"
        )
    endpoint = parse_endpoint(options.host)
    run_dir = data_dir / "run"
    if isinstance(endpoint, UnixEndpoint) and endpoint.path.parent != run_dir:
        if host_said:
            raise UsageError(
                f"--facets containers: the gateway's container can have a socket in {run_dir} or a "
                f"TCP port, not {endpoint}"
            )
        return replace(options, host=f"unix://{run_dir}/docker.sock")
    return options


def check_switch(known: Instance, options: Options) -> None:
    """Raise PreconditionError where what facets are can't be changed to what options say.

    exec has another database then, which is empty: it would know of no container.
    """
    if options.facets == known.options.facets:
        return
    if known.in_containers:
        left = in_containers_of(known.data_dir, facet_processes(known.slot))
        if left:
            raise PreconditionError(
                f"facets still run in containers ({', '.join(kinds(left, known.slot))}): run "
                f"`{compose_command(known)} down` first"
            )
    containers = count_kept(known.data_dir / Role.STORAGE / "containers")
    if containers:
        raise PreconditionError(
            f"{known.data_dir} holds {containers} container{'s' if containers > 1 else ''}: remove "
            f"them before you change what facets are; `vic up --facets {known.options.facets}` "
            "brings them back"
        )


def lay_out_containers(instance: Instance) -> None:
    """Write compose's settings, and passwords for the database where there are none yet."""
    uid, gid = owner = _database_user(instance.slot)
    directory = instance.database_dir
    # What root writes and reads is in directories in which the database's user changes nothing.
    own_directory(directory, 0, gid, 0o710)
    own_directory(directory / "passwords", 0, gid, 0o750)
    own_directory(directory / "data", uid, gid, 0o700)
    for name in ("admin", *ON_DATABASE):
        path = directory / "passwords" / name
        if not path.exists():
            write_file(path, secrets.token_urlsafe(24).encode(), mode=0o400, owner=owner)
    for role in ON_DATABASE:
        uid = uid_of(kind_of(role), instance.slot)
        password = (directory / "passwords" / role).read_text()
        line = f"127.0.0.1:{database_port(instance.slot)}:{role}:{role}:{password}\n"
        path = instance.data_dir / role / PASSFILE
        write_file(path, line.encode(), mode=0o400, owner=(uid, uid))
    lines = "".join(f"{name}={value}\n" for name, value in compose_settings(instance).items())
    write_file(instance.data_dir / SETTINGS, lines.encode())


def compose_settings(instance: Instance) -> Mapping[str, str]:
    """Return what docker-compose.yml asks for."""
    users = {role: uid_of(kind_of(role), instance.slot) for role in _roles()}
    return {
        "COMPOSE_PROJECT_NAME": f"vic-{instance.id}",
        "VIC_DATA_DIR": str(instance.data_dir),
        "VIC_ENDPOINT": instance.options.host,
        "VIC_GROUP": str(first_uid(instance.slot)),
        **{f"VIC_{role.upper()}_USER": f"{uid}:{uid}" for role, uid in users.items()},
        **{
            f"VIC_{role.upper()}_PORT": str(facet_port(role, instance.slot))
            for role in _roles()
            if role is not Role.GATEWAY
        },
        "VIC_DATABASE_USER": "{}:{}".format(*_database_user(instance.slot)),
        "VIC_DATABASE_PORT": str(database_port(instance.slot)),
    }


def compose_command(instance: Instance) -> str:
    """Return the beginning of a compose command for an instance."""
    return f"docker compose --env-file {instance.data_dir / SETTINGS}"


def states(instance: Instance) -> dict[Role, State]:
    """Ask each facet whether it serves; of replicas, whichever gets the question.

    Where there are no certificates to ask with, the suite was never up and nobody serves.
    """

    async def ask() -> dict[Role, State]:
        roles = list(_roles())
        return dict(zip(roles, await asyncio.gather(*map(state, roles)), strict=True))

    async def state(role: Role) -> State:
        opened = docker_probe(instance) if role is Role.GATEWAY else grpc_probe(instance, role)
        try:
            async with opened() as probe:
                await probe(_ASK_SECONDS)
        except (TimeoutError, VicError, OSError):
            return State.STOPPED
        return State.HEALTHY

    return asyncio.run(ask())


def report(instance: Instance) -> list[dict[str, Any]]:
    """Return the facets as `vic status` shows processes; whose they are, only Docker knows."""
    unknown = {"pid": None, "uptime_seconds": None, "restarts": 0, "last_exit": ""}
    return [{"role": role, "state": state, **unknown} for role, state in states(instance).items()]


def _roles() -> Iterator[Role]:
    return (kind.role for kind in SERVICES)


def _database_user(slot: int) -> tuple[int, int]:
    uid = first_uid(slot) + DATABASE_UID_OFFSET
    return uid, uid
