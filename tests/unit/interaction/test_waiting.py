"""Tethers of clones that wait: connected under names of their own, then one container's."""

import asyncio
from typing import Any

import grpc
import pytest
from vic.interaction.v1 import process_pb2, process_pb2_grpc
from vic.tether.v1 import tether_pb2

from portlayer.errors import (
    FailedPrecondition,
    InvalidArgument,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
    VicError,
    domain_errors,
)
from portlayer.identity import Role
from services.interaction import waiting
from services.interaction.store import Given
from tests.unit.interaction.fake_tether import BOOT, INIT, OUT, FakeTether, soon
from tests.unit.interaction.suite import CONTAINER, OTHER, Suite, give_up_soon

CLONE = "ready-00112233445566aa"
SECOND = "ready-00112233445566bb"


async def refusal(call: Any) -> VicError:
    """Return the error that a call ends with."""
    with pytest.raises(VicError) as caught, domain_errors():
        while await soon(call.read()) is not grpc.aio.EOF:
            pass
    return caught.value


async def waiting_clone(suite: Suite, name: str = CLONE) -> FakeTether:
    """Return the tether of a clone that waits; its boot's name is its own."""
    tether = suite.tether(name)
    await tether.connect(name)
    return tether


async def given_clone(suite: Suite, container_id: str = CONTAINER) -> FakeTether:
    """Return the tether of a clone in which a container runs."""
    await suite.register(container_id)
    tether = await waiting_clone(suite)
    await asyncio.gather(suite.launch(container_id, tether_id=CLONE), tether.take_launch())
    return tether


async def admit(suite: Suite, boot_id: str, tether_id: str) -> None:
    """Name a boot of a container in which nothing runs."""
    request = process_pb2.AdmitRequest(container_id=CONTAINER, boot_id=boot_id, tether_id=tether_id)
    await suite.processes().Admit(request, timeout=60)


async def test_a_clone_that_waits_becomes_a_containers_without_another_hello(suite: Suite) -> None:
    tether = await given_clone(suite)
    client = await suite.attach()
    # It goes on naming its own boot, since nobody told it another.
    stdio = await tether.stdio(INIT, CLONE)
    await stdio.send(b"said by a clone\n")
    await client.read_until(OUT, 16)
    await stdio.close()
    await tether.exit(3)
    assert await suite.log_text() == b"said by a clone\n"
    assert suite.service is not None
    assert suite.service.tethers.waiting == 0


async def test_it_comes_back_as_the_containers(suite: Suite) -> None:
    tether = await given_clone(suite)
    tether.control.cancel()
    again = suite.tether(CLONE)
    await again.connect(CLONE, [_running()])
    stdio = await again.stdio(INIT, CLONE)
    await stdio.send(b"back\n")
    await stdio.close()
    await again.exit(0)
    assert await suite.log_text() == b"back\n"


async def test_it_comes_back_after_a_restart_of_the_service(suite: Suite) -> None:
    await given_clone(suite)
    await suite.restart()
    again = suite.tether(CLONE)
    await again.connect(CLONE, [_running()])
    stdio = await again.stdio(INIT, CLONE)
    await stdio.send(b"after a restart\n")
    await stdio.close()
    await again.exit(0)
    assert await suite.log_text() == b"after a restart\n"


async def test_a_restart_between_gift_and_launch_loses_neither(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    await suite.register()
    # Nobody is there yet: the gift is put on record, and the launch waits.
    give_up_soon(monkeypatch)
    with pytest.raises(Unavailable):
        await suite.launch(tether_id=CLONE)
    monkeypatch.undo()
    await suite.restart()
    assert suite.service is not None
    assert await suite.service.tethers.given(CLONE) == Given(CONTAINER, BOOT)
    tether = await waiting_clone(suite)
    await asyncio.gather(suite.launch(tether_id=CLONE), tether.take_launch())


async def test_clones_that_wait_come_back_after_a_restart_and_can_be_used(suite: Suite) -> None:
    await suite.register()
    await waiting_clone(suite)
    await suite.restart()
    tether = await waiting_clone(suite)
    await asyncio.gather(suite.launch(tether_id=CLONE), tether.take_launch())


async def test_a_clone_is_never_given_to_two_containers(suite: Suite) -> None:
    tether = await given_clone(suite)
    await suite.register(OTHER)
    with pytest.raises(FailedPrecondition):
        await suite.launch(OTHER, "b002", tether_id=CLONE)
    await suite.restart()
    with pytest.raises(FailedPrecondition):
        await suite.launch(OTHER, "b002", tether_id=CLONE)
    with pytest.raises(FailedPrecondition):
        await admit(suite, "b003", CLONE)
    tether = suite.tether(CLONE)
    await tether.connect(CLONE, [_running()])
    assert suite.service is not None
    assert suite.service.sessions.get(CONTAINER).running
    assert not suite.service.sessions.get(OTHER).boot_id


async def test_two_who_want_one_at_once_don_t_both_get_it(suite: Suite) -> None:
    await suite.register()
    await suite.register(OTHER)
    tether = await waiting_clone(suite)
    taken = asyncio.ensure_future(tether.take_launch())
    results = await asyncio.gather(
        suite.launch(CONTAINER, tether_id=CLONE),
        suite.launch(OTHER, "b002", tether_id=CLONE),
        return_exceptions=True,
    )
    await taken
    assert sorted(isinstance(result, FailedPrecondition) for result in results) == [False, True]


async def test_asking_again_is_the_same_launch(suite: Suite) -> None:
    await given_clone(suite)
    again = await suite.launch(tether_id=CLONE)
    assert again.pid == 42


async def test_the_former_boots_clone_has_nothing_to_say(suite: Suite) -> None:
    former = await given_clone(suite)
    other = await waiting_clone(suite, SECOND)
    await asyncio.gather(suite.launch(boot_id="b002", tether_id=SECOND), other.take_launch())
    # Its machine is gone, but suppose it weren't.
    former.control.cancel()
    former = await waiting_clone(suite)
    await former.say(exited={"process_id": INIT, "exit_code": 0})
    stdio = await former.stdio(INIT, CLONE)
    assert isinstance(await refusal(stdio.call), FailedPrecondition)
    assert suite.service is not None
    assert suite.service.sessions.get(CONTAINER).running


async def test_a_clone_that_waits_reaches_no_container(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with suite.running():
        stranger = suite.tether(CLONE)
        # The victim's boot and process; the certificate is a clone's that is nobody's.
        await stranger.connect(BOOT)
        await stranger.say(exited={"process_id": INIT, "exit_code": 0})
        stdio = await stranger.stdio(INIT, BOOT)
        assert isinstance(await refusal(stdio.call), FailedPrecondition)
        await suite.register(OTHER)
        give_up_soon(monkeypatch)
        with pytest.raises(Unavailable):
            await suite.launch(OTHER, BOOT)
        assert suite.service is not None
        assert suite.service.sessions.get(CONTAINER).running


async def test_a_given_clone_speaks_for_its_own_container_alone(suite: Suite) -> None:
    tether = await given_clone(suite)
    await suite.register(OTHER)
    victim = suite.tether(OTHER)
    await victim.connect("b002")
    await asyncio.gather(suite.launch(OTHER, "b002", "init"), victim.take_launch())
    tether.control.cancel()
    stranger = suite.tether(CLONE)
    await stranger.connect("b002", [_running()])
    await stranger.exit(7)
    assert suite.service is not None
    assert suite.service.sessions.get(OTHER).running
    assert not suite.service.sessions.get(CONTAINER).running


@pytest.mark.parametrize("name", ["", OTHER, "ready-", "ready-00112233445566AA", "template-00"])
def test_names_that_are_no_clones(name: str) -> None:
    assert not waiting.waits_by_name(name)


async def test_what_is_no_clones_name_can_t_be_given(suite: Suite) -> None:
    await suite.register()
    await suite.register(OTHER)
    with pytest.raises(InvalidArgument):
        await suite.launch(tether_id=OTHER)


async def test_only_exec_gives(suite: Suite) -> None:
    await suite.register()
    for role in (Role.GATEWAY, Role.ADMIN, Role.HOSTAGENT):
        stub: Any = process_pb2_grpc.ProcessServiceStub(suite.channel(role))
        request = process_pb2.LaunchRequest(
            container_id=CONTAINER, boot_id=BOOT, process_id=INIT, tether_id=CLONE
        )
        with pytest.raises(PermissionDenied), domain_errors():
            await stub.Launch(request)


async def test_no_more_wait_than_there_is_room_for(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "MOST_WAITING", 1)
    tether = await waiting_clone(suite)
    one_too_many = suite.tether(SECOND)
    call: Any = one_too_many.stub.Connect()
    await call.write(_hello(SECOND))
    assert isinstance(await refusal(call), ResourceExhausted)
    # A newer stream of the same name takes the older one's place, and needs no other.
    again = await waiting_clone(suite)
    assert isinstance(await refusal(tether.control), FailedPrecondition)
    assert suite.service is not None
    assert suite.service.tethers.waiting == 1
    again.control.cancel()


async def test_a_removed_containers_clone_is_refused(suite: Suite) -> None:
    await given_clone(suite)
    await suite.processes().Unregister(process_pb2.UnregisterRequest(container_id=CONTAINER))
    again = suite.tether(CLONE)
    stdio = await again.stdio(INIT, CLONE)
    assert isinstance(await refusal(stdio.call), FailedPrecondition)


async def test_a_utility_vms_tether_has_waited_too(suite: Suite) -> None:
    await suite.register()
    await waiting_clone(suite)
    await admit(suite, "utility-1", CLONE)
    assert suite.service is not None
    assert suite.service.sessions.get(CONTAINER).control("utility-1") is not None


def _running() -> Any:
    return tether_pb2.ProcessState(process_id=INIT, pid=42, started_at={"seconds": 1000})


def _hello(boot_id: str) -> Any:
    return tether_pb2.ConnectRequest(hello=tether_pb2.Hello(boot_id=boot_id))
