"""What create makes of its specification, and that nothing is left where it fails."""

import asyncio

import pytest
from vic.exec.v1 import container_pb2
from vic.storage.v1 import disk_pb2

from portlayer.errors import (
    AlreadyExists,
    InvalidArgument,
    NotFound,
    Reason,
    Unavailable,
)
from tests.unit.exec.conftest import Facet, turns
from tests.unit.exec.specs import SPEC, spec


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
        ({"stop_signal": "1" * 5000}, "invalid signal: 11"),
        ({"stop_signal": "RTMIN+" + "1" * 5000}, "invalid signal: RTMIN"),
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
    # Its caller pulls the other platform's.
    with pytest.raises(NotFound, match="not for linux/arm64"):
        await facet.creator.create("", spec(platform="linux/arm64"))
    assert (await facet.creator.create("", spec(platform="linux/amd64"))).spec.platform
