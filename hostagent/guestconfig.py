"""The frames for tethers: what makes a waiting one that of one container, and what changes then."""

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

from hostagent.certificates import TetherAuthority, throwaway
from hostagent.machine import Guest, GuestManagement, Machine, Surroundings, VolumeDisk
from tether import guestconfig as frame

ENTROPY_BYTES = 512
REHEARSAL = "rehearsal"


@dataclass(frozen=True)
class Names:
    """Which boot of which container of which instance is told something."""

    instance_id: str
    container_id: str
    boot_id: str


def first_frame(machine: Machine, instance_id: str, authority: TetherAuthority) -> bytes:
    """Return the whole configuration of a machine as one frame for its port ``vic.config``.

    A machine that is nobody's yet is told nothing but to warm up.

    Time, entropy, key and certificate are made here, for this machine and this start alone.
    """
    if machine.kind.warms_up:
        return _warm_up()
    if machine.guest is None:
        return b""
    names = Names(instance_id, machine.machine_id, machine.launch_id)
    return whole_frame(names, machine.guest, machine.volumes, authority)


def identity_frame(machine: Machine, instance_id: str, authority: TetherAuthority) -> bytes:
    """Return what a machine that waits is told, so that its tether dials under its own name."""
    assert machine.management is not None
    names = Names(instance_id, machine.machine_id, machine.launch_id)
    return frame.format_frame(
        frame.GuestConfig(
            time_ns=time.time_ns(),
            entropy=secrets.token_bytes(ENTROPY_BYTES),
            identity=_identity(names, secrets.token_hex(16), machine.management, authority),
        )
    )


def assignment_frame(machine: Machine) -> bytes:
    """Return what a machine that has waited under its own name is told when it is a container's."""
    guest = machine.guest
    assert guest is not None
    return frame.format_frame(
        frame.GuestConfig(
            time_ns=time.time_ns(),
            entropy=secrets.token_bytes(ENTROPY_BYTES),
            assignment=frame.Assignment(
                container_id=machine.machine_id,
                boot_id=machine.launch_id,
                machine_id=guest.machine_id or secrets.token_hex(16),
            ),
            container=_container(guest, machine.volumes),
        )
    )


def whole_frame(
    names: Names, guest: Guest, volumes: Sequence[VolumeDisk], authority: TetherAuthority
) -> bytes:
    """Return all that the tether of a container is told, with a key made for it here and now."""
    machine_id = guest.machine_id or secrets.token_hex(16)
    return frame.format_frame(
        frame.GuestConfig(
            time_ns=time.time_ns(),
            entropy=secrets.token_bytes(ENTROPY_BYTES),
            identity=_identity(names, machine_id, guest.management, authority),
            container=_container(guest, volumes),
        )
    )


def change_frame(serial: int, surroundings: Surroundings) -> bytes:
    """Return the frame that tells a tether what its container's surroundings are from now on."""
    return frame.format_frame(
        frame.GuestConfig(
            time_ns=time.time_ns(),
            entropy=secrets.token_bytes(ENTROPY_BYTES),
            networks=frame.Surroundings(
                serial=serial,
                nics=_nics(surroundings),
                dns=_dns(surroundings),
                hosts=surroundings.hosts,
            ),
        )
    )


def clock_frame() -> bytes:
    """Return the frame that tells a tether nothing but the time."""
    return frame.format_frame(
        frame.GuestConfig(time_ns=time.time_ns(), entropy=secrets.token_bytes(ENTROPY_BYTES))
    )


def _identity(
    names: Names, machine_id: str, management: GuestManagement, authority: TetherAuthority
) -> frame.Identity:
    issued = authority.issue(names.container_id)
    return frame.Identity(
        instance=names.instance_id,
        container_id=names.container_id,
        boot_id=names.boot_id,
        machine_id=machine_id,
        management=frame.Management(
            mac=management.mac_address,
            address=management.address,
            endpoint=management.endpoint,
            server_name=management.server_name,
        ),
        tls=frame.Tls(ca=authority.pem, cert=issued.certificate, key=issued.key),
    )


def _container(guest: Guest, volumes: Sequence[VolumeDisk]) -> frame.Container:
    return frame.Container(
        hostname=guest.hostname,
        domainname=guest.domainname,
        nics=_nics(guest.surroundings),
        dns=_dns(guest.surroundings),
        hosts=guest.surroundings.hosts,
        root=frame.Root(
            device=guest.root_device or frame.Root.device,
            readonly=guest.root_readonly,
            shm_bytes=guest.shm_bytes or frame.Root.shm_bytes,
        ),
        disks=tuple(frame.Disk(volume.read_only) for volume in volumes),
        mounts=tuple(
            frame.Mount(
                target=mount.target,
                readonly=mount.read_only,
                disk=mount.disk,
                copy_up=mount.copy_up,
                subpath=mount.subpath,
                flags=mount.flags,
                data=mount.data,
            )
            for mount in guest.mounts
        ),
    )


def _nics(surroundings: Surroundings) -> tuple[frame.Nic, ...]:
    return tuple(
        frame.Nic(
            index=nic.index,
            mac=nic.mac_address,
            addresses=nic.addresses,
            gateway=nic.gateway,
            mtu=nic.mtu,
            name=nic.name,
            gateway6=nic.gateway6,
        )
        for nic in surroundings.nics
    )


def _dns(surroundings: Surroundings) -> frame.Dns:
    return frame.Dns(surroundings.dns_servers, surroundings.dns_search, surroundings.dns_options)


def _warm_up() -> bytes:
    identity, authority = throwaway(REHEARSAL)
    return frame.format_frame(
        frame.GuestConfig(
            time_ns=time.time_ns(),
            entropy=secrets.token_bytes(ENTROPY_BYTES),
            warm_up=frame.WarmUp(
                ca=authority,
                cert=identity.certificate,
                key=identity.key,
                server_name=REHEARSAL,
                mirrored=True,
            ),
        )
    )
