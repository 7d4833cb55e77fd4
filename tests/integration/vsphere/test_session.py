"""The session with a vCenter: whom it believes, what it survives, what it says."""

import asyncio
import os
import threading
import time
from dataclasses import replace
from typing import Any, cast

import pytest
from pyVmomi import vim

from portlayer.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unauthenticated,
    Unavailable,
)
from portlayer.vsphere.machines import destroy, power_off, power_on
from portlayer.vsphere.properties import MOST_WAIT, read_below
from portlayer.vsphere.session import WORKERS, VCenter
from portlayer.vsphere.target import Target, colons
from services.exec.drivers.vsphere import updates
from services.exec.drivers.vsphere.driver import VsphereHypervisor
from tests.integration.vsphere.hypervisor import PLACE
from tests.integration.vsphere.others import Issuer, end_session, find_vm, put_bootstrap, until
from tests.vcenter import (
    HOST,
    PASSWORD,
    Simulator,
    make_authority,
    make_certificate,
    simulator,
)
from tests.vcenter.cutting import Cut, cutting

SECONDS = 60.0
# vpxd's default for sessions that nobody uses.
IDLE_MINUTES = 30


async def names(vcenter: VCenter, *, repeatable: bool = True) -> list[str]:
    """All hosts' names."""
    found = await vcenter.call(
        lambda content: read_below(content, content.rootFolder, vim.HostSystem, ["name"]),
        repeatable=repeatable,
    )
    return sorted(told["name"] for _, told in found)


def users(content: vim.ServiceInstanceContent) -> list[str]:
    """Whose sessions there are."""
    assert content.sessionManager is not None
    return [session.userName for session in content.sessionManager.sessionList]


def session_key(content: vim.ServiceInstanceContent) -> str:
    """Which session this is."""
    assert content.sessionManager is not None
    session = content.sessionManager.currentSession
    if session is None:
        raise vim.fault.NotAuthenticated
    return session.key


def log_out(content: vim.ServiceInstanceContent) -> None:
    assert content.sessionManager is not None
    content.sessionManager.Logout()


async def refusal(target: Target) -> str:
    """What a login that fails says."""
    vcenter = VCenter(target)
    try:
        with pytest.raises(
            (Unavailable, Unauthenticated, InvalidArgument, FailedPrecondition)
        ) as e:
            await vcenter.open()
    finally:
        await vcenter.close()
    assert PASSWORD not in str(e.value)
    return e.value.message


async def test_a_certificate_is_believed_by_its_thumbprint(simulated: Simulator) -> None:
    target = simulated.target()
    for written in (target.thumbprint, colons(target.thumbprint)):
        vcenter = VCenter(replace(target, thumbprint=written))
        await vcenter.open()
        assert "DC0_C0_H0" in await names(vcenter)
        await vcenter.close()


@pytest.mark.parametrize("host", ["127.0.0.2", "127.0.0.1", "localhost"])
async def test_another_certificate_is_refused_and_named(host: str) -> None:
    # Also where pyvmomi by itself would not look.
    with simulator("-listen", f"{host}:0") as other:
        target = replace(other.target(thumbprint=make_certificate().thumbprint), host=host)
        message = await refusal(target)
        assert colons(other.certificate.thumbprint) in message


async def test_without_a_thumbprint_an_authority_must_vouch(simulated: Simulator) -> None:
    assert "not who it should be" in await refusal(simulated.target(thumbprint=""))


async def test_an_authority_that_vouches_is_enough_and_only_for_its_host() -> None:
    authority = make_authority()
    with simulator(certificate=make_certificate(HOST, authority)) as vouched:
        file = vouched.directory / "authorities.pem"
        file.write_bytes(authority.pem)
        target = replace(vouched.target(thumbprint=""), ca_file=file)
        vcenter = VCenter(target)
        await vcenter.open()
        assert "DC0_C0_H0" in await names(vcenter)
        await vcenter.close()
        file.write_bytes(make_authority().pem)
        assert "not who it should be" in await refusal(target)
    for host in ("127.0.0.2", "127.0.0.1", "localhost"):
        # Also where pyvmomi by itself would not look.
        certificate = make_certificate("127.0.0.9", authority)
        with simulator("-listen", f"{host}:0", certificate=certificate) as other:
            file = other.directory / "authorities.pem"
            file.write_bytes(authority.pem)
            target = replace(other.target(thumbprint=""), host=host, ca_file=file)
            assert "not who it should be" in await refusal(target)


async def test_so_many_calls_are_under_way_and_no_more(vcenter: VCenter) -> None:
    loop, release = asyncio.get_running_loop(), threading.Event()
    begun, lock, now, most = asyncio.Semaphore(0), threading.Lock(), 0, 0

    def work(_: vim.ServiceInstanceContent) -> str:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        loop.call_soon_threadsafe(begun.release)
        release.wait(SECONDS)
        with lock:
            now -= 1
        return threading.current_thread().name

    calls = [asyncio.create_task(vcenter.call(work)) for _ in range(4 * WORKERS)]
    async with asyncio.timeout(SECONDS):
        for _ in range(WORKERS):
            await begun.acquire()
        release.set()
        threads = set(await asyncio.gather(*calls))
    assert most == WORKERS
    assert len(threads) == WORKERS


async def test_a_session_is_kept_alive_while_nothing_happens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # vCenter's own bound is half an hour without a call; what is followed asks each half minute.
    assert MOST_WAIT * 1000 < IDLE_MINUTES * 60_000
    monkeypatch.setattr(updates, "MOST_WAIT", 1)
    with simulator("-session-idle", "4000") as brief:
        session, other = VCenter(brief.target()), VCenter(brief.target())
        await session.open()
        await put_bootstrap(session)
        driver = VsphereHypervisor(session, PLACE, "0a1b2c3d", cast(Any, Issuer("0a1b2c3d")))
        await driver.open()
        key = await session.call(session_key)
        await other.open()
        former = await other.call(session_key)
        begun = time.monotonic()

        async def two_bounds_have_passed() -> bool:
            return time.monotonic() - begun > 9

        with simulator() as elsewhere:
            watching = VCenter(elsewhere.target())
            await watching.open()
            await until(watching, two_bounds_have_passed)
            await watching.close()
        assert await session.call(session_key) == key
        # Whoever says nothing has lost his, and gets another.
        assert await other.call(session_key) != former
        await driver.close()
        await other.close()


async def test_what_is_wrong_with_a_target_is_said_in_a_line(simulated: Simulator) -> None:
    target = simulated.target()
    assert "InvalidLogin" in await refusal(simulated.target(password="wrong"))
    assert "64 hexadecimal digits" in await refusal(replace(target, thumbprint="12:34"))
    assert "can't be reached" in await refusal(replace(target, port=1))
    gone = simulated.directory / "gone"
    assert "password file" in await refusal(replace(target, password_file=gone))
    assert "authorities" in await refusal(replace(target, thumbprint="", ca_file=gone))
    assert "no certificate" in await refusal(replace(target, certificate_file=gone))
    assert "neither in a file nor in VIC_PASSWORD" in await refusal(
        replace(target, password_file=None)
    )


async def test_the_password_may_be_in_the_environment(
    simulated: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIC_PASSWORD", PASSWORD)
    vcenter = VCenter(replace(simulated.target(), password_file=None))
    await vcenter.open()
    assert await names(vcenter)
    await vcenter.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="vCenter's proxy is on port 80")
async def test_an_extension_logs_in_by_its_certificate() -> None:
    host = "127.0.0.5"
    with simulator("-listen", f"{host}:0", "-proxy", "80") as running:
        vcenter = VCenter(running.extension(host))
        await vcenter.open()
        assert "DC0_C0_H0" in await names(vcenter)
        assert await vcenter.call(users) == ["org.example.vic"]
        await vcenter.call(log_out)
        assert await names(vcenter, repeatable=False)
        await vcenter.close()
        assert "InvalidLogin" in await refusal(running.extension(host, key=""))
        # Also on the way through the proxy the server is the one that is meant, or refused.
        other = make_certificate().thumbprint
        pinned = replace(running.extension(host), thumbprint=other)
        assert colons(running.certificate.thumbprint) in await refusal(pinned)


async def test_a_vcenter_without_the_extensions_way_in_is_said(simulated: Simulator) -> None:
    assert "can't be reached" in await refusal(simulated.extension(HOST))


async def test_a_session_that_was_ended_is_renewed(simulated: Simulator, vcenter: VCenter) -> None:
    await end_session(simulated, vcenter)
    # Not repeatable, and repeated all the same: it was refused, so it has done nothing.
    assert await names(vcenter, repeatable=False)


async def test_a_restart_of_vcenter_is_survived_by_what_may_be_repeated() -> None:
    with simulator() as restarted:
        vcenter = VCenter(restarted.target())
        await vcenter.open()
        restarted.stop()
        with pytest.raises(Unavailable):
            await names(vcenter)
        restarted.start()
        assert await names(vcenter)
        await vcenter.close()


async def test_an_object_outlives_the_session_that_it_was_found_in(
    simulated: Simulator, vcenter: VCenter
) -> None:
    ((datacenter, _),) = await vcenter.call(
        lambda content: read_below(content, content.rootFolder, vim.Datacenter, ["name"])
    )
    await end_session(simulated, vcenter)
    # Its attribute is a call of its own, by what it was found with.
    assert await vcenter.call(lambda _: datacenter.name) == "DC0"


async def test_a_call_whose_connection_breaks_is_made_again_where_it_is_safe(
    simulated: Simulator,
) -> None:
    async with cutting(simulated.port) as way:
        vcenter = VCenter(replace(simulated.target(), port=way.port))
        await vcenter.open()
        for where in Cut:
            assert await names(vcenter)
            way.cut(where)
            assert await names(vcenter)
            assert await names(vcenter)
            way.cut(where)
            with pytest.raises(Unavailable):
                await names(vcenter, repeatable=False)
        assert way.cuts == 4
        await vcenter.close()


async def test_a_task_that_may_have_been_begun_is_looked_for_before_it_is_begun_again() -> None:
    # Tasks take so long that each is under way when it is looked for.
    with simulator("-machines", "1", "-task-delay", "300") as slow:
        async with cutting(slow.port) as way:
            vcenter = VCenter(replace(slow.target(), port=way.port))
            await vcenter.open()
            vm = await find_vm(vcenter, "DC0_C0_RP0_VM0")
            assert vm is not None
            # Where the answer is lost a second power-on would be refused.
            for where in (Cut.REQUEST, Cut.ANSWER):
                await power_off(vcenter, vm)
                way.cut(where)
                await power_on(vcenter, vm)
                with pytest.raises(FailedPrecondition, match="poweredOn"):
                    await power_on(vcenter, vm)
            way.cut(Cut.ANSWER)
            await power_off(vcenter, vm)
            way.cut(Cut.ANSWER)
            await destroy(vcenter, vm)
            assert await find_vm(vcenter, "DC0_C0_RP0_VM0") is None
            assert way.cuts == 4
            await vcenter.close()


async def test_a_fault_of_a_task_is_the_callers(vcenter: VCenter) -> None:
    (found,) = await vcenter.call(
        lambda content: read_below(content, content.rootFolder, vim.Datacenter, ["vmFolder"])
    )
    folder = found[1]["vmFolder"]
    missing = vim.VirtualMachine("vm-0", folder._stub)
    with pytest.raises(NotFound) as error:
        await vcenter.finish(lambda _: missing.PowerOnVM_Task())
    assert "ManagedObjectNotFound" in error.value.message


async def test_an_old_vcenter_is_refused() -> None:
    with simulator("-api-version", "6.5") as old:
        assert "6.7 or later" in await refusal(old.target())
