"""Between the contract's messages and our own values."""

import hashlib
from collections.abc import Iterable

from google.protobuf.timestamp_pb2 import Timestamp
from vic.hostagent.v1 import hostagent_pb2 as pb

from hostagent import journal
from hostagent.allocation import Allocation
from hostagent.counters import Counters
from hostagent.journal import Event, ExitCause
from hostagent.machine import (
    Accelerator,
    Guest,
    GuestManagement,
    GuestMount,
    GuestNic,
    Machine,
    MachineKind,
    Nic,
    Shape,
    Surroundings,
    VolumeDisk,
)
from hostagent.parents import Parent, ParentState
from hostagent.records import Record
from hostagent.tetherport import TetherState
from portlayer.errors import InvalidArgument, Reason

_KINDS = {
    pb.MACHINE_KIND_COLD: MachineKind.COLD,
    pb.MACHINE_KIND_PARENT: MachineKind.PARENT,
    pb.MACHINE_KIND_CLONE: MachineKind.CLONE,
    pb.MACHINE_KIND_READY: MachineKind.READY,
    pb.MACHINE_KIND_TEMPLATE: MachineKind.TEMPLATE,
}
_KIND_NUMBERS = {kind: number for number, kind in _KINDS.items()}
_ACCELERATORS = {
    Accelerator.KVM: pb.ACCELERATOR_KVM,
    Accelerator.TCG: pb.ACCELERATOR_TCG,
}
_TETHER_STATES = {
    "": pb.TETHER_STATE_UNSPECIFIED,
    TetherState.READY: pb.TETHER_STATE_READY,
    TetherState.CONFIGURED: pb.TETHER_STATE_CONFIGURED,
    TetherState.FAILED: pb.TETHER_STATE_FAILED,
    TetherState.WARM: pb.TETHER_STATE_WARM,
}
_PARENT_STATES = {
    ParentState.CREATED: pb.PARENT_STATE_CREATED,
    ParentState.BOOTING: pb.PARENT_STATE_BOOTING,
    ParentState.SEALED: pb.PARENT_STATE_SEALED,
}
_CAUSES = {
    ExitCause.ENDED: pb.EXIT_CAUSE_ENDED,
    ExitCause.KILLED: pb.EXIT_CAUSE_KILLED,
    ExitCause.VIOLATION: pb.EXIT_CAUSE_VIOLATION,
    ExitCause.FOUND_DEAD: pb.EXIT_CAUSE_FOUND_DEAD,
    ExitCause.HOST_RESTARTED: pb.EXIT_CAUSE_HOST_RESTARTED,
}


def allocation_from_proto(message: pb.Allocation) -> Allocation:
    """Return an allocation as asked for."""
    return Allocation(
        cpu_millis=message.cpu_reservation_millis,
        memory_bytes=message.memory_reservation_bytes,
        cpu_shares=message.cpu_shares,
        memory_shares=message.memory_shares,
    )


def allocation_to_proto(allocation: Allocation) -> pb.Allocation:
    """Return an allocation as the contract's message."""
    return pb.Allocation(
        cpu_reservation_millis=allocation.cpu_millis,
        memory_reservation_bytes=allocation.memory_bytes,
        cpu_shares=allocation.cpu_shares,
        memory_shares=allocation.memory_shares,
    )


def accelerator_to_proto(accelerator: Accelerator) -> pb.Accelerator:
    """Return the contract's name of an accelerator."""
    return _ACCELERATORS[accelerator]


def shape_from_proto(message: pb.Shape) -> Shape:
    """Read a shape; :meth:`Shape.check` judges it."""
    return Shape(
        memory_mib=message.memory_mib,
        vcpus=message.vcpus,
        bootstrap_digest=message.bootstrap_digest,
        disk_size_bytes=message.disk_size_bytes,
    )


def machine_from_proto(message: pb.Machine) -> tuple[Machine, str]:
    """Read a machine, and the fingerprint of the request; :meth:`Machine.check` judges it.

    Raises InvalidArgument for a kind that isn't one.
    """
    kind = _KINDS.get(message.kind)
    if kind is None:
        raise InvalidArgument("kind: missing or unknown", Reason.INVALID_MACHINE, field="kind")
    machine = Machine(
        machine_id=message.machine_id,
        launch_id=message.launch_id,
        kind=kind,
        shape=shape_from_proto(message.shape),
        parent_id=message.parent_id,
        disk_chain=tuple(message.disk_chain),
        nics=tuple(Nic(nic.tap_name, nic.mac_address) for nic in message.nics),
        guest=guest_from_proto(message.guest) if message.HasField("guest") else None,
        identity=message.identity,
        volumes=volumes_from_proto(message.volumes),
        cpu_weight=message.cpu_weight,
    )
    return machine, hashlib.sha256(message.SerializeToString(deterministic=True)).hexdigest()


def volumes_from_proto(messages: Iterable[pb.VolumeDisk]) -> tuple[VolumeDisk, ...]:
    """Read the disks of volumes."""
    return tuple(VolumeDisk(disk.path, disk.read_only, disk.size_bytes) for disk in messages)


def record_to_proto(record: Record) -> pb.RunningMachine:
    """Return a running machine as the contract has it."""
    return pb.RunningMachine(
        machine_id=record.machine_id,
        launch_id=record.launch_id,
        kind=_KIND_NUMBERS[record.kind],
        shape=_shape_to_proto(record.shape),
        shape_key=record.shape_key,
        parent_id=record.parent_id,
        pid=record.process.pid,
        uid=record.uid,
        qmp_path=record.qmp_path,
        incoming_uri=record.incoming_uri,
        launched_at=_timestamp(record.launched_ns),
        identity=record.identity,
        accelerator=_ACCELERATORS[record.accelerator],
        nics=[
            *(pb.Nic(tap_name=n.tap_name, mac_address=n.mac_address) for n in record.nics),
            *(pb.Nic(tap_name=n.tap_name, mac_address=n.mac_address) for n in record.plugged),
        ],
        tether=pb.TetherReport(
            state=_TETHER_STATES[record.tether_state], error=record.tether_error
        ),
    )


def event_to_proto(event: Event) -> pb.Event:
    """Return an event as the contract has it."""
    message = pb.Event(
        sequence=event.sequence,
        time=_timestamp(event.time_ns),
        machine_id=event.machine_id,
        launch_id=event.launch_id,
    )
    fields = event.fields
    if event.kind == journal.LAUNCHED:
        message.launched.pid = fields["pid"]
    elif event.kind == journal.REPORTED:
        message.reported.state = _TETHER_STATES[fields["state"]]
        message.reported.error = fields["error"]
    else:
        message.exited.cause = _CAUSES[fields["cause"]]
        if fields["code"] is not None:
            message.exited.exit_code = fields["code"]
        if fields["signal"] is not None:
            message.exited.signal = fields["signal"]
        message.exited.exit_record = event.record
        message.exited.console_tail = event.tail
    return message


def parent_to_proto(parent: Parent, *, current: bool) -> pb.Parent:
    """Return a parent as the contract has it."""
    return pb.Parent(
        parent_id=parent.parent_id,
        shape=_shape_to_proto(parent.shape),
        shape_key=parent.shape_key,
        state=_PARENT_STATES[parent.state],
        created_at=_timestamp(parent.created_ns),
        current=current,
    )


def guest_from_proto(message: pb.GuestConfig) -> Guest:
    """Read a guest's configuration; :meth:`Guest.check` judges it."""
    return Guest(
        hostname=message.hostname,
        domainname=message.domainname,
        machine_id=message.guest_machine_id,
        management=GuestManagement(
            mac_address=message.management.mac_address,
            address=message.management.address,
            endpoint=message.management.endpoint,
            server_name=message.management.server_name,
        ),
        surroundings=surroundings_from_proto(message),
        root_readonly=message.root_readonly,
        shm_bytes=message.shm_bytes,
        mounts=tuple(map(_mount_from_proto, message.mounts)),
        root_device=message.root_device,
    )


def surroundings_from_proto(message: pb.GuestConfig | pb.SurroundRequest) -> Surroundings:
    """Read interfaces and name service; :meth:`Surroundings.check` judges them."""
    return Surroundings(
        nics=tuple(
            GuestNic(
                index=nic.index,
                mac_address=nic.mac_address,
                addresses=tuple(nic.addresses),
                gateway=nic.gateway,
                mtu=nic.mtu,
                name=nic.name,
                gateway6=nic.ipv6_gateway,
            )
            for nic in message.nics
        ),
        dns_servers=tuple(message.dns.servers),
        dns_search=tuple(message.dns.search),
        dns_options=tuple(message.dns.options),
        hosts=tuple((host.address, host.name) for host in message.hosts),
    )


def _mount_from_proto(message: pb.GuestMount) -> GuestMount:
    volume, tmpfs = message.volume, message.tmpfs
    return GuestMount(
        target=message.target,
        read_only=message.read_only,
        disk=volume.disk if message.HasField("volume") else None,
        copy_up=volume.copy_up,
        subpath=volume.subpath,
        flags=tuple(tmpfs.flags),
        data=tmpfs.data,
    )


def counters_to_proto(counters: Counters) -> pb.MachineCounters:
    """Encode what a machine has taken of the host."""
    return pb.MachineCounters(
        machine_id=counters.machine_id,
        launch_id=counters.launch_id,
        read_nanoseconds=counters.read_ns,
        cpu_nanoseconds=counters.cpu_ns,
        cpu_wait_nanoseconds=counters.wait_ns,
        memory_bytes=counters.memory_bytes,
        received_bytes=counters.received_bytes,
        sent_bytes=counters.sent_bytes,
    )


def _shape_to_proto(shape: Shape) -> pb.Shape:
    return pb.Shape(
        memory_mib=shape.memory_mib,
        vcpus=shape.vcpus,
        bootstrap_digest=shape.bootstrap_digest,
        disk_size_bytes=shape.disk_size_bytes,
    )


def _timestamp(nanoseconds: int) -> Timestamp:
    seconds, nanos = divmod(nanoseconds, 1_000_000_000)
    return Timestamp(seconds=seconds, nanos=nanos)
