"""What verbs do to a container, and that nothing is left when they fail."""

import asyncio

import pytest
from google.protobuf.duration_pb2 import Duration
from vic.exec.v1 import container_pb2, exec_pb2
from vic.storage.v1 import disk_pb2

from portlayer.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Reason,
    Unavailable,
)
from services.exec import starting
from services.exec.drivers import MachineExited, StartKind
from services.exec.states import State
from services.exec.waiting import wait
from tests.unit.exec.conftest import Facet, turns

SPEC = container_pb2.ContainerSpec(image="busybox")


def spec(**fields: object) -> container_pb2.ContainerSpec:
    return container_pb2.ContainerSpec(image="busybox", **fields)  # type: ignore[arg-type]


async def kinds(facet: Facet) -> list[str]:
    """Return the kinds of all events so far."""
    stored = await facet.history.after(0)
    return [exec_pb2.EventKind.Name(e.kind).removeprefix("EVENT_KIND_").lower() for e in stored]


async def test_create_takes_the_images_defaults(facet: Facet) -> None:
    record = await facet.creator.create("", spec(process={"env": ["A=own"]}, labels={"m": "1"}))
    assert list(record.spec.process.args) == ["sh"]
    assert {"A=own", "B=image"} <= set(record.spec.process.env)
    assert dict(record.spec.labels) == {"l": "image", "m": "1"}
    assert record.spec.hostname == record.id[:12]
    assert [e.ipv4_address for e in record.endpoints] == ["172.17.0.2"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ["HOSTNAME=box"]),
        ({"tty": True}, ["HOSTNAME=box", "TERM=xterm"]),
        ({"tty": True, "env": ["TERM=vt100"]}, ["HOSTNAME=box", "TERM=vt100"]),
        ({"env": ["HOSTNAME=other"]}, ["HOSTNAME=other"]),
    ],
)
async def test_a_process_knows_its_host_and_its_terminal(
    facet: Facet, given: dict[str, object], expected: list[str]
) -> None:
    """As with dockerd, in the process's environment and not in the specification."""
    record = await facet.creator.create("", spec(process=given, hostname="box"))
    await facet.lifecycle.start(record.id)
    ours = [v for v in facet.peers.ran_with if v.startswith(("HOSTNAME=", "TERM="))]
    assert ours == expected
    shown = await facet.containers.get(record.id)
    assert shown is not None
    assert list(shown.spec.process.env) == list(record.spec.process.env)


async def test_a_variable_without_a_value_is_absent_in_the_process_alone(facet: Facet) -> None:
    # The image has A=image and B=image.
    record = await facet.creator.create("", spec(process={"env": ["A", "C=own"]}))
    await facet.lifecycle.start(record.id)
    assert "A" in record.spec.process.env
    assert "B=image" in facet.peers.ran_with
    assert "C=own" in facet.peers.ran_with
    assert not [variable for variable in facet.peers.ran_with if variable.startswith("A")]


async def test_an_entrypoint_takes_the_images_command_away(facet: Facet) -> None:
    record = await facet.creator.create("", spec(entrypoint=["/bin/echo"], entrypoint_set=True))
    assert list(record.spec.process.args) == ["/bin/echo"]


@pytest.mark.parametrize("call", ["Prepare", "Reserve", "Register"])
async def test_a_failed_create_leaves_nothing(facet: Facet, call: str) -> None:
    facet.peers.failing[call] = Unavailable("away")
    with pytest.raises(Unavailable):
        await facet.creator.create("", spec(name="web"))
    assert facet.leftovers() == []
    assert (await facet.creator.create("", spec(name="web"))).name == "web"


async def test_a_create_that_fails_outlives_what_it_asked_for(
    facet: Facet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As storage does: what has begun there is done, whether or not its caller waits."""
    prepare = facet.peers.Prepare
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def late(request: disk_pb2.PrepareRequest) -> disk_pb2.PrepareResponse:
        begun.set()

        async def work() -> disk_pb2.PrepareResponse:
            await go_on.wait()
            return await prepare(request)

        return await asyncio.shield(work())

    monkeypatch.setattr(facet.peers, "Prepare", late)
    facet.peers.failing["Reserve"] = NotFound("no such network", Reason.NETWORK_NOT_FOUND)
    creating = asyncio.create_task(facet.creator.create("", spec()))
    await begun.wait()
    await turns()
    go_on.set()
    with pytest.raises(NotFound):
        await creating
    await facet.reconciler.reconcile()
    assert facet.leftovers() == []


async def test_create_is_idempotent_on_its_id(facet: Facet) -> None:
    container_id = "c0" * 32
    first = await facet.creator.create(container_id, SPEC)
    assert await facet.creator.create(container_id, SPEC) == first
    with pytest.raises(AlreadyExists) as caught:
        await facet.creator.create(container_id, spec(hostname="other"))
    assert caught.value.reason is Reason.CONTAINER_EXISTS


async def test_one_of_many_gets_a_name(facet: Facet) -> None:
    results = await asyncio.gather(
        *(facet.creator.create("", spec(name="web")) for _ in range(10)), return_exceptions=True
    )
    refusals = [r for r in results if isinstance(r, AlreadyExists)]
    assert len(refusals) == 9
    assert all(r.reason is Reason.NAME_IN_USE for r in refusals)
    assert len(facet.peers.disks) == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "-x"}, "Invalid container name"),
        ({"resources": {"memory_bytes": 1024}}, "Minimum memory limit allowed is 6MB"),
        ({"resources": {"nano_cpus": 3 * 10**9}}, "there are only 2 CPUs"),
        ({"stop_signal": "SIGNOPE"}, "invalid signal: SIGNOPE"),
        ({"process": {"cwd": "relative"}}, "needs to be an absolute path"),
    ],
)
async def test_what_cannot_be_is_refused(
    facet: Facet, fields: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        await facet.creator.create("", spec(**fields))


async def test_an_unknown_image_is_refused(facet: Facet) -> None:
    with pytest.raises(NotFound, match="No such image"):
        await facet.creator.create("", container_pb2.ContainerSpec(image="missing"))


async def test_a_container_runs_and_ends(facet: Facet) -> None:
    container_id = await facet.run()
    record = await facet.containers.resolve(container_id)
    assert record.state is State.RUNNING
    assert record.pid == 4242
    await facet.peers.end(container_id, 7)
    await facet.exits.drain()
    record = await facet.containers.resolve(container_id)
    assert (record.state, record.exit_code, record.pid) == (State.EXITED, 7, 0)
    assert not facet.hypervisor.machines
    assert not facet.peers.bound
    assert await kinds(facet) == ["create", "start", "die"]


async def test_an_exit_is_recorded_once(facet: Facet) -> None:
    container_id = await facet.run()
    await asyncio.gather(*(facet.peers.end(container_id, 3) for _ in range(5)))
    await facet.exits.drain()
    assert (await kinds(facet)).count("die") == 1


async def test_start_of_a_running_container_is_already_done(facet: Facet) -> None:
    container_id = await facet.run()
    with pytest.raises(FailedPrecondition) as caught:
        await facet.lifecycle.start(container_id)
    assert caught.value.reason is Reason.ALREADY_DONE


@pytest.mark.parametrize("call", ["Bind", "Launch"])
async def test_a_failed_start_leaves_no_vm(facet: Facet, call: str) -> None:
    record = await facet.creator.create("", SPEC)
    facet.peers.failing[call] = FailedPrecondition(
        'exec: "x": executable file not found in $PATH', Reason.LAUNCH_FAILED, exit_code="127"
    )
    with pytest.raises(ExceptionGroup):
        await facet.lifecycle.start(record.id)
    assert not facet.hypervisor.machines
    assert not facet.peers.bound
    record = await facet.containers.resolve(record.id)
    assert (record.state, record.exit_code) == (State.CREATED, 127)
    assert "executable file not found" in record.error
    await facet.lifecycle.start(record.id)


async def test_a_start_outlasts_a_restart_of_interaction(facet: Facet) -> None:
    facet.peers.failing["Launch"] = Unavailable("socket closed")
    container_id = await facet.run()
    assert (await facet.containers.resolve(container_id)).state is State.RUNNING


async def test_a_clone_that_fails_is_booted(facet: Facet) -> None:
    facet.hypervisor.failing["load"] = Unavailable("no", Reason.CLONE_FAILED)
    container_id = await facet.run()
    record = await facet.containers.resolve(container_id)
    assert record.start_kind == container_pb2.START_KIND_COLD_BOOT
    assert facet.hypervisor.kinds == [False, True]


async def test_a_ready_clone_that_fails_is_replaced_by_another_start(facet: Facet) -> None:
    facet.hypervisor.failing["run"] = Unavailable(
        "it does not go on", Reason.CLONE_FAILED, start=StartKind.READY_CLONE.name
    )
    record = await facet.containers.resolve(await facet.run())
    assert record.start_kind == container_pb2.START_KIND_INSTANT_CLONE
    assert facet.hypervisor.kinds == [False, False]
    assert facet.hypervisor.machines == {record.id: record.boot_id}
    # The pool is told that either start is over, one way or the other.
    assert len(set(facet.hypervisor.settlements)) == 2


@pytest.mark.parametrize("silent", [True, False])
async def test_a_ready_clone_that_stays_silent_is_not_waited_for_long(
    facet: Facet, monkeypatch: pytest.MonkeyPatch, silent: bool
) -> None:
    monkeypatch.setattr(starting, "READY_SECONDS", 0.01)
    facet.hypervisor.ready = 1
    facet.peers.answer_launch.clear()
    checked = asyncio.Event()
    error = Unavailable("silent", Reason.CLONE_FAILED, start=StartKind.READY_CLONE.name)

    async def check_awake(container_id: str, boot_id: str) -> None:
        checked.set()
        facet.peers.answer_launch.set()
        if silent:
            raise error

    monkeypatch.setattr(facet.hypervisor, "check_awake", check_awake)
    record = await facet.containers.resolve(await facet.run())
    assert checked.is_set()
    assert facet.hypervisor.kinds == ([False, False] if silent else [False])
    kind = StartKind.INSTANT_CLONE if silent else StartKind.READY_CLONE
    assert record.start_kind == kind.value
    assert facet.hypervisor.machines == {record.id: record.boot_id}


async def test_a_start_among_which_all_ready_clones_fail_is_a_boot_in_the_end(
    facet: Facet, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run(container_id: str, boot_id: str) -> None:
        if not facet.hypervisor.specs[boot_id].cold:
            raise Unavailable("torn", Reason.CLONE_FAILED, start=StartKind.READY_CLONE.name)

    monkeypatch.setattr(facet.hypervisor, "run", run)
    record = await facet.containers.resolve(await facet.run())
    assert record.start_kind == container_pb2.START_KIND_COLD_BOOT
    assert facet.hypervisor.kinds == [False, False, True]
    assert facet.hypervisor.machines == {record.id: record.boot_id}


async def test_a_second_ready_clone_is_given_the_time_of_any_vm(
    facet: Facet, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a host so busy that two in a row are silent, a boot would take twenty times as long.
    monkeypatch.setattr(starting, "READY_SECONDS", 0.0)
    facet.hypervisor.ready = 2
    facet.peers.answer_launch.clear()
    checked: list[str] = []

    async def check_awake(container_id: str, boot_id: str) -> None:
        checked.append(boot_id)
        raise Unavailable("silent", Reason.CLONE_FAILED, start=StartKind.READY_CLONE.name)

    monkeypatch.setattr(facet.hypervisor, "check_awake", check_awake)
    running = asyncio.create_task(facet.run())
    async with asyncio.timeout(60):
        while not checked or checked == list(facet.peers.boots.values()):
            await turns()
    await turns()
    facet.peers.answer_launch.set()
    record = await facet.containers.resolve(await running)
    assert record.start_kind == container_pb2.START_KIND_READY_CLONE
    assert len(checked) == 1


async def test_a_vm_killed_behind_our_back_is_an_exit_with_137(facet: Facet) -> None:
    container_id = await facet.run()
    boot = facet.peers.boots[container_id]
    await facet.exits.machine_exited(MachineExited(container_id, boot, b"", "signal 9"))
    await facet.exits.drain()
    record = await facet.containers.resolve(container_id)
    assert (record.state, record.exit_code) == (State.EXITED, 137)


async def test_stop_asks_and_then_kills(facet: Facet) -> None:
    container_id = await facet.run()
    await facet.lifecycle.stop(container_id, 5, "")
    assert [number for _, number in facet.peers.signals] == [15]
    facet.peers.exit_on = {9: 137}
    await facet.lifecycle.start(container_id)
    await facet.lifecycle.stop(container_id, 0.05, "INT")
    assert [number for _, number in facet.peers.signals] == [15, 2, 9]
    assert not facet.hypervisor.machines


async def test_stop_uses_the_containers_own_signal_and_timeout(facet: Facet) -> None:
    container_id = await facet.run(stop_signal="SIGUSR1", stop_timeout=Duration(nanos=1000))
    await facet.lifecycle.stop(container_id, None, "")
    assert [number for _, number in facet.peers.signals] == [10, 9]


async def test_a_kill_does_not_wait_for_a_stop(facet: Facet) -> None:
    container_id = await facet.run()
    facet.peers.exit_on = {9: 137}
    stop = asyncio.create_task(facet.lifecycle.stop(container_id, 60, ""))
    await facet.peers.signalled.wait()
    await facet.lifecycle.signal(container_id, "KILL")
    async with asyncio.timeout(60):
        record = await stop
    assert record.exit_code == 137


async def test_a_killed_container_can_be_removed_at_once(facet: Facet) -> None:
    container_id = await facet.run()
    facet.peers.exit_on = {}
    killing = asyncio.create_task(facet.lifecycle.signal(container_id, "KILL"))
    await facet.peers.signalled.wait()
    returned_before_the_exit, _ = await asyncio.wait({killing}, timeout=0.05)
    assert not returned_before_the_exit
    await facet.peers.end(container_id, 137)
    await killing
    await facet.lifecycle.remove(container_id, container_id, force=False)


async def test_rm_refuses_what_runs_unless_forced(facet: Facet) -> None:
    container_id = await facet.run("web")
    with pytest.raises(FailedPrecondition, match="container is running: stop the container"):
        await facet.lifecycle.remove(container_id, "web", force=False)
    await facet.lifecycle.remove(container_id, "web", force=True)
    await facet.exits.drain()
    assert facet.leftovers() == []
    with pytest.raises(NotFound, match="No such container: web"):
        await facet.containers.resolve("web")


async def test_auto_remove_happens_at_the_end(facet: Facet) -> None:
    container_id = await facet.run(auto_remove=True)
    waiting = wait(facet.containers, facet.events, container_id, exec_pb2.WAIT_CONDITION_REMOVED)
    assert (await anext(waiting)).HasField("waiting")
    await facet.peers.end(container_id, 5)
    async with asyncio.timeout(60):
        assert (await anext(waiting)).result.exit_code == 5
    assert facet.leftovers() == []


async def test_wait_for_the_next_exit_does_not_see_the_last_one(facet: Facet) -> None:
    container_id = await facet.run()
    await facet.peers.end(container_id, 1)
    await facet.exits.drain()
    waiting = wait(facet.containers, facet.events, container_id, exec_pb2.WAIT_CONDITION_NEXT_EXIT)
    await anext(waiting)
    await facet.lifecycle.start(container_id)
    await facet.peers.end(container_id, 2)
    async with asyncio.timeout(60):
        assert (await anext(waiting)).result.exit_code == 2


async def test_a_name_is_free_after_rename_and_kept_beside_the_disk(facet: Facet) -> None:
    container_id = await facet.run("one")
    await facet.lifecycle.rename(container_id, "two")
    assert (await facet.containers.resolve("two")).id == container_id
    assert b"two" in facet.peers.disks[container_id]
    await facet.creator.create("", spec(name="one"))
    with pytest.raises(AlreadyExists):
        await facet.lifecycle.rename(container_id, "one")


async def test_pause_and_unpause(facet: Facet) -> None:
    container_id = await facet.run()
    await facet.lifecycle.pause(container_id)
    assert facet.hypervisor.paused == {container_id}
    with pytest.raises(FailedPrecondition, match="is already paused"):
        await facet.lifecycle.pause(container_id)
    with pytest.raises(FailedPrecondition, match="try unpause instead"):
        await facet.lifecycle.start(container_id)
    await facet.lifecycle.unpause(container_id)
    assert (await facet.containers.resolve(container_id)).state is State.RUNNING


async def test_an_exit_during_the_start_is_recorded_after_it(facet: Facet) -> None:
    record = await facet.creator.create("", SPEC)
    facet.peers.answer_launch.clear()
    starting = asyncio.create_task(facet.lifecycle.start(record.id))
    await facet.peers.launched.wait()
    ending = asyncio.create_task(facet.peers.end(record.id, 3))
    early, _ = await asyncio.wait({ending}, timeout=0.05)
    assert not early
    facet.peers.answer_launch.set()
    assert (await starting).state is State.RUNNING
    await ending
    await facet.exits.drain()
    ended = await facet.containers.resolve(record.id)
    assert (ended.state, ended.exit_code, ended.pid) == (State.EXITED, 3, 0)
    assert ended.started_ns > 0
    assert await kinds(facet) == ["create", "start", "die"]


async def test_a_process_shorter_than_its_launch_has_run(facet: Facet) -> None:
    record = await facet.creator.create("", SPEC)
    facet.peers.answer_launch.clear()
    facet.peers.ran = True
    starting = asyncio.create_task(facet.lifecycle.start(record.id))
    await facet.peers.launched.wait()
    boot_id = facet.peers.boots[record.id]
    exited = MachineExited(record.id, boot_id, b'{"exit_code": 5}', "")
    ending = asyncio.create_task(facet.exits.machine_exited(exited))
    async with asyncio.timeout(60):
        assert (await starting).state is State.RUNNING
        await ending
    await facet.exits.drain()
    assert (await facet.containers.resolve(record.id)).exit_code == 5


async def test_a_vm_that_ends_while_it_starts_ends_the_start(facet: Facet) -> None:
    record = await facet.creator.create("", SPEC)
    facet.peers.answer_launch.clear()
    starting = asyncio.create_task(facet.lifecycle.start(record.id))
    await facet.peers.launched.wait()
    exited = MachineExited(record.id, facet.peers.boots[record.id], b"", "signal 9")
    ending = asyncio.create_task(facet.exits.machine_exited(exited))
    async with asyncio.timeout(60):
        with pytest.raises(ExceptionGroup) as caught:
            await starting
        await ending
    assert "the VM ended while it started" in str(caught.value.exceptions)
    assert (await facet.containers.resolve(record.id)).state is State.CREATED
    assert await kinds(facet) == ["create"]


async def test_an_exit_changes_nothing_but_what_it_says(facet: Facet) -> None:
    container_id = await facet.run("old")
    stale = await facet.containers.resolve(container_id)
    await facet.lifecycle.rename(container_id, "new")
    assert await facet.containers.end(stale, [])
    assert (await facet.containers.resolve(container_id)).name == "new"
    assert not await facet.containers.end(stale, [])


async def test_a_stop_takes_the_vm_down_once(facet: Facet) -> None:
    container_id = await facet.run()
    await facet.lifecycle.stop(container_id, 5, "")
    await facet.exits.drain()
    assert facet.peers.powered_off == [container_id]
    assert len(facet.peers.retired) == 1


async def test_a_stop_that_fails_leaves_the_container_running(facet: Facet) -> None:
    container_id = await facet.run()
    facet.peers.failing["Signal"] = Unavailable("interaction is away")
    with pytest.raises(Unavailable):
        await facet.lifecycle.stop(container_id, 5, "")
    assert (await facet.containers.resolve(container_id)).state is State.RUNNING
    await facet.lifecycle.stop(container_id, 5, "")


async def test_why_a_start_failed_outlives_a_failing_undo(facet: Facet) -> None:
    record = await facet.creator.create("", SPEC)
    facet.peers.failing["Bind"] = Unavailable("no tap")
    facet.hypervisor.failing["destroy"] = Unavailable("the agent is away")
    with pytest.raises(ExceptionGroup):
        await facet.lifecycle.start(record.id)
    assert (await facet.containers.resolve(record.id)).error == "no tap"
    # The VM that is left must not keep the next start from its own.
    started = await facet.lifecycle.start(record.id)
    assert facet.hypervisor.machines == {record.id: started.boot_id}


async def test_why_a_start_failed_outlives_a_failing_removal(facet: Facet) -> None:
    record = await facet.creator.create("", spec(auto_remove=True))
    facet.peers.failing["Bind"] = Unavailable("no tap")
    facet.peers.failing["Remove"] = Unavailable("storage is away")
    with pytest.raises(ExceptionGroup) as caught:
        await facet.lifecycle.start(record.id)
    assert "no tap" in str(caught.value.exceptions)
    assert await facet.reconciler.reconcile()
    assert facet.leftovers() == []


async def test_a_clone_that_failed_is_booted_under_another_boot(facet: Facet) -> None:
    record = await facet.creator.create("", SPEC)
    facet.hypervisor.failing["load"] = Unavailable("no", Reason.CLONE_FAILED)
    started = await facet.lifecycle.start(record.id)
    assert len(facet.hypervisor.launched) == 2
    assert facet.hypervisor.machines == {record.id: started.boot_id}


async def test_a_pause_that_fails_leaves_the_container_running(facet: Facet) -> None:
    container_id = await facet.run()
    facet.hypervisor.failing["pause"] = Unavailable("no answer")
    with pytest.raises(Unavailable):
        await facet.lifecycle.pause(container_id)
    assert (await facet.containers.resolve(container_id)).state is State.RUNNING
    assert "pause" not in await kinds(facet)


async def test_a_rename_that_fails_changes_nothing(facet: Facet) -> None:
    container_id = (await facet.creator.create("", spec(name="one"))).id
    await facet.creator.create("", spec(name="two"))
    before = facet.peers.disks[container_id]
    facet.peers.failing["PutSpecification"] = Unavailable("storage is away")
    with pytest.raises(Unavailable):
        await facet.lifecycle.rename(container_id, "three")
    facet.peers.failing["Rename"] = Unavailable("network is away")
    with pytest.raises(Unavailable):
        await facet.lifecycle.rename(container_id, "three")
    with pytest.raises(AlreadyExists):
        await facet.lifecycle.rename(container_id, "two")
    assert (await facet.containers.resolve("one")).id == container_id
    assert facet.peers.disks[container_id] == before
    assert facet.peers.names[container_id] == "one"


async def test_networks_know_a_renamed_container_by_its_new_name(facet: Facet) -> None:
    container_id = (await facet.creator.create("", spec(name="one"))).id
    await facet.lifecycle.rename(container_id, "two")
    assert facet.peers.names == {container_id: "two"}


async def test_what_a_guest_says_of_its_kernel_is_bounded(facet: Facet) -> None:
    facet.peers.kernel_release = "6" * 100_000
    container_id = await facet.run()
    assert len((await facet.containers.resolve(container_id)).kernel_release) == 64


async def test_a_forced_removal_waits_for_no_stop(facet: Facet) -> None:
    container_id = await facet.run()
    facet.peers.exit_on = {}
    stopping = asyncio.create_task(facet.lifecycle.stop(container_id, 60, ""))
    await facet.peers.signalled.wait()
    async with asyncio.timeout(60):
        await facet.lifecycle.remove(container_id, container_id, force=True)
        await stopping
    assert facet.leftovers() == []


async def test_a_forced_removal_waits_for_no_guest_that_hangs(facet: Facet) -> None:
    record = await facet.creator.create("", SPEC)
    facet.peers.answer_launch.clear()
    starting = asyncio.create_task(facet.lifecycle.start(record.id))
    await facet.peers.launched.wait()
    async with asyncio.timeout(60):
        await facet.lifecycle.remove(record.id, record.id, force=True)
        with pytest.raises(ExceptionGroup):
            await starting
    assert facet.leftovers() == []


async def test_of_a_hundred_starts_few_are_at_work_at_a_time(
    facet: Facet, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_work = most = 0
    load, full = facet.hypervisor.load, asyncio.Event()

    async def counted(container_id: str, boot_id: str) -> None:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        if at_work == 8:
            full.set()
        await full.wait()
        await load(container_id, boot_id)
        at_work -= 1

    monkeypatch.setattr(facet.hypervisor, "load", counted)
    made = [(await facet.creator.create("", SPEC)).id for _ in range(40)]
    async with asyncio.timeout(60):
        await asyncio.gather(*map(facet.lifecycle.start, made))
    assert set(facet.hypervisor.machines) == set(made)
    # The fake has two CPUs.
    assert most == 8
