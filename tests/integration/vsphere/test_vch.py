"""The life of a VCH on a vCenter, by the `vic` command."""

import asyncio
import json
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyVmomi import vim
from vic.exec.v1 import exec_pb2

from installer.__main__ import main
from installer.instance import load_instance
from installer.vsphere.creation import DEFAULT_NETWORK
from installer.vsphere.verbs import inspect, set_pool_limits
from portlayer.errors import Unavailable
from portlayer.vsphere import datastore
from portlayer.vsphere.properties import read_below
from portlayer.vsphere.session import VCenter
from services.exec.drivers.vsphere.settings import VsphereSettings
from services.network.drivers.vsphere.portgroups import own_name
from tests.integration.vsphere.others import find_vm, plug, put_bootstrap, unplug
from tests.integration.vsphere.service import exec_service
from tests.integration.vsphere.test_exec_service import (
    SECONDS,
    SEEN_WITHIN,
    apart,
    delete,
    dies,
    migrate,
    run,
    state,
)
from tests.vcenter import PASSWORD, Simulator, make_certificate, simulator

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="vic create needs root")

CLUSTER = "/DC0/host/DC0_C0"


@pytest.fixture(scope="module")
def own() -> Iterator[Simulator]:
    """A vCenter with VMs of others."""
    with simulator("-machines", "2") as running:
        yield running


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory with a short path: that of a socket in a data directory has bounds."""
    with tempfile.TemporaryDirectory(prefix="vic-") as name:
        yield Path(name)


@pytest.fixture
def medium(tmp_path: Path) -> Path:
    """What stands for a boot medium."""
    path = tmp_path / "boot.iso"
    path.write_bytes(b"boot" * 1000)
    return path


def target(simulated: Simulator) -> list[str]:
    """Options that name a vCenter."""
    told = simulated.target()
    return [
        *("--target", f"{told.host}:{told.port}", "--user", told.user),
        *("--password-file", str(told.password_file), "--thumbprint", told.thumbprint),
    ]


def place(**changes: str) -> list[str]:
    """Options that say where a VCH is to be."""
    options = {
        "--compute-resource": "DC0_C0",
        "--image-store": "LocalDS_0",
        "--management-network": "DC0_DVPG0",
        "--switch": "/DC0/network/DVS0",
        "--vlans": "200-210",
        **changes,
    }
    return [part for name, value in options.items() if value for part in (name, value)]


def on(simulated: Simulator, work: Callable[[VCenter], Any]) -> Any:
    """Do work as the administrator."""

    async def run() -> Any:
        vcenter = VCenter(simulated.target())
        await vcenter.open()
        try:
            return await work(vcenter)
        finally:
            await vcenter.close()

    return asyncio.run(run())


def inventory(simulated: Simulator) -> list[str]:
    """Everything that a vCenter has: objects, DRS rules and groups, files."""

    async def look(vcenter: VCenter) -> list[str]:
        def objects(content: vim.ServiceInstanceContent) -> list[str]:
            found = read_below(content, content.rootFolder, vim.ManagedEntity, ["name"])
            listed = [f"{o.__class__.__name__} {told['name']}" for o, told in found]
            kind = vim.ClusterComputeResource
            for _, told in read_below(content, content.rootFolder, kind, ["configurationEx"]):
                listed += [rule.name for rule in told["configurationEx"].rule or []]
                listed += [group.name for group in told["configurationEx"].group or []]
            return listed

        listed: list[str] = await vcenter.call(objects)
        for name in ("LocalDS_0", "LocalDS_1"):
            files = await datastore.list_files(vcenter, "/DC0", f"[{name}]")
            listed += [f"[{name}] {file}" for file in files]
        return sorted(listed)

    return list(on(simulated, look))


def test_a_vch_is_made_and_removed_and_the_inventory_is_as_before(
    own: Simulator,
    medium: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    on(own, put_bootstrap)
    before = inventory(own)
    data = ["--data-dir", str(tmp_path / "one")]
    limits = ["--memory", "8g", "--cpu", "4", "--containers", "10"]
    made = [*target(own), *place(), *limits, "--bootstrap-iso", str(medium)]
    assert main(["create", "--name", "one", *data, *made]) == 0
    instance = load_instance(tmp_path / "one")
    assert instance is not None
    said = capsys.readouterr()
    assert f"vic up --data-dir {tmp_path}/one" in said.out
    # It is idempotent: what an interrupted one has made is taken up.
    assert main(["create", "--name", "one", *data, *made]) == 0
    # The settings are what the facets read.
    section = VsphereSettings.model_validate(dict(instance.options.vsphere))
    assert section.folder == "/DC0/vm/one"
    assert dict(instance.options.limits) == {
        "containers": 10,
        "memory_bytes": 8 << 30,
        "cpus": 4,
    }

    # A nested one, with the same medium and a port group that was given.
    other = ["--data-dir", str(tmp_path / "two")]
    nested = place(
        **{
            "--compute-resource": f"{CLUSTER}/Resources/one",
            "--switch": "",
            "--vlans": "",
            "--bridge-network": "DC0_DVPG1",
        }
    )
    iso = ["--bootstrap-iso", str(medium)]
    assert main(["create", "--name", "two", *other, *target(own), *nested, *iso]) == 0

    capsys.readouterr()
    assert main(["ls", *target(own)]) == 0
    listed = capsys.readouterr().out
    assert f"{CLUSTER}/Resources/one/two" in listed
    assert instance.id in listed
    assert main(["inspect", *data]) == 0
    told = capsys.readouterr().out
    assert PASSWORD not in told
    assert json.loads(told)["vsphere"]["pool_state"] == {
        "there": True,
        "memory_limit_bytes": 8 << 30,
        "cpu_limit_mhz": 4 * 2294,
    }

    # What `vic configure` changes of the pool; what it isn't asked for stays.
    set_pool_limits(instance, exec_pb2.ConfigureRequest(memory_bytes=6 << 30))
    set_pool_limits(instance, exec_pb2.ConfigureRequest(cpus=0, containers=9))
    assert inspect(instance)["pool_state"] == {
        "there": True,
        "memory_limit_bytes": 6 << 30,
        "cpu_limit_mhz": 0,
    }

    # A container and its parents, DRS rules, and somebody else's VM in our folder and port group.
    port_group = own_name(instance.id, DEFAULT_NETWORK)
    containers: list[str] = []

    async def use(vcenter: VCenter) -> None:
        section = {**instance.options.vsphere, "anti_affinity": True}
        async with exec_service(own, instance.id, **section) as service:
            first = await run(service, "first")
            third = await run(service, "third")
            containers.extend((first, await run(service, "second"), third))
            async with asyncio.timeout(SECONDS):
                while await apart(service) != {"first", "second", "third"}:
                    continue

            async def power_off(vm: vim.VirtualMachine) -> None:
                await vcenter.finish(lambda _: vm.PowerOffVM_Task())

            assert await dies(service, first, power_off) < SEEN_WITHIN
            await service.exec.Start(exec_pb2.StartRequest(reference=first))
            await migrate(service, first)

            async def removal(vm: vim.VirtualMachine) -> None:
                await delete(service, vm)

            assert await dies(service, third, removal) < SEEN_WITHIN
            await service.exec.Remove(exec_pb2.RemoveRequest(reference=third))
            assert await state(service, first) == "RUNNING"
        vm = await find_vm(vcenter, "DC0_C0_RP0_VM0")
        assert vm is not None

        def move(content: vim.ServiceInstanceContent) -> vim.Task:
            index = content.searchIndex
            assert index is not None
            folder = index.FindByInventoryPath("DC0/vm/one")
            assert isinstance(folder, vim.Folder)
            task: vim.Task = folder.MoveIntoFolder_Task([vm])
            return task

        await vcenter.finish(move)
        await plug(vcenter, vm, port_group)

    on(own, use)
    assert main(["delete", *data]) == 1
    assert "2 container VMs; --force" in capsys.readouterr().err

    # Interrupted in the middle, and by what isn't ours: it goes on.
    remove_files = datastore.delete

    async def refuse(*args: Any) -> None:
        raise Unavailable("the connection broke")

    monkeypatch.setattr(datastore, "delete", refuse)
    assert main(["delete", "--force", *data]) == 1
    monkeypatch.setattr(datastore, "delete", remove_files)
    assert main(["delete", "--force", *data]) == 1
    error = capsys.readouterr().err
    assert "folder /DC0/vm/one holds DC0_C0_RP0_VM0" in error
    assert f"port group {port_group} is in use by VM DC0_C0_RP0_VM0" in error
    assert f"resource pool {CLUSTER}/Resources/one holds two" in error

    async def move_back(vcenter: VCenter) -> None:
        vm = await find_vm(vcenter, "DC0_C0_RP0_VM0")
        assert vm is not None
        await unplug(vcenter, vm)

        def move(content: vim.ServiceInstanceContent) -> vim.Task:
            index = content.searchIndex
            assert index is not None
            folder = index.FindByInventoryPath("DC0/vm")
            assert isinstance(folder, vim.Folder)
            task: vim.Task = folder.MoveIntoFolder_Task([vm])
            return task

        await vcenter.finish(move)

    on(own, move_back)
    assert main(["delete", *other]) == 0
    assert main(["delete", "--force", *data]) == 0

    # The containers' disks are storage's, which the test stands for.
    async def remove_disks(vcenter: VCenter) -> None:
        for container_id in containers:
            for suffix in (".vmdk", "-flat.vmdk"):
                path = f"[LocalDS_0] {container_id[:12]}{suffix}"
                await datastore.delete(vcenter, "/DC0", path)

    on(own, remove_disks)
    assert inventory(own) == before
    assert not (tmp_path / "one").exists()
    assert main(["delete", *data]) == 1
    assert "holds no instance" in capsys.readouterr().err


def refused(simulated: Simulator, tmp_path: Path, medium: Path, options: list[str]) -> str:
    """Return what a create that must fail says, and see that it has left nothing."""
    data = tmp_path / secrets.token_hex(4)
    arguments = ["create", "--data-dir", str(data), "--bootstrap-iso", str(medium), *options]
    assert main(arguments) in (1, 2)
    assert not data.exists()
    return ""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--target", "127.0.0.3:1"], "check --target"),
        (["--thumbprint", make_certificate().thumbprint], "by --thumbprint"),
        (["--thumbprint", "ab:cd"], "64 hexadecimal digits"),
        (["--user", "nobody@vsphere.local"], "check --user and the file of --password-file"),
        (["--password-file", "/nowhere"], "password file can't be read: No such file"),
        (["--certificate-file", "/nowhere"], "--password-file and --certificate-file: one"),
        (["--name", "a/b"], "invalid --name"),
        (["--memory", "much"], "not a size"),
        (["--vlans", "0-5000"], "--vlans"),
        (["--image-store", "LocalDS_0/../x"], "can't be above"),
        (["--bootstrap-iso", "/nowhere.iso"], "/nowhere.iso"),
        (["--host", "unix:///x"], "`vic up`"),
    ],
)
def test_one_wrong_word_is_one_line(
    own: Simulator,
    medium: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    said: str,
) -> None:
    before = inventory(own)
    refused(own, tmp_path, medium, [*target(own), *place(), *options])
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1
    assert PASSWORD not in error
    assert inventory(own) == before


def test_all_that_is_wrong_is_said_at_once(
    own: Simulator, medium: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = place(
        **{
            "--image-store": "tape",
            "--volume-store": "slow=drum/x",
            "--management-network": "nowhere",
            "--bridge-network": "DC0_DVPG9",
            "--switch": "/DC0/network/none",
            "--host-group": "fast",
            "--name": "DC0_C0_RP0_VM0",
            "--memory": "1m",
            "--client-network": "neither",
        }
    )
    refused(own, tmp_path, medium, [*target(own), *wrong])
    said = capsys.readouterr().err
    for word in (
        "--image-store: there is no datastore tape; there are LocalDS_0, LocalDS_1",
        "--volume-store slow: there is no datastore drum",
        "--management-network: there is no port group nowhere; there are",
        "--bridge-network: there is no port group DC0_DVPG9",
        "--client-network: there is no port group neither",
        "--switch: there is no distributed switch /DC0/network/none; there is /DC0/network/DVS0",
        "--host-group: the cluster has no host group fast; there is none",
        "--name: /DC0/vm has a folder or VM DC0_C0_RP0_VM0",
        "--memory: 1 MiB hold no container",
    ):
        assert word in said
    assert len(said.strip().splitlines()) == 9
    refused(own, tmp_path, medium, [*target(own), *place(**{"--compute-resource": "C9"})])
    assert "no cluster or pool C9; there are /DC0/host/DC0_C0 (or a" in capsys.readouterr().err
    refused(own, tmp_path, medium, [*target(own), *place(**{"--switch": "", "--vlans": ""})])
    assert "--bridge-network: give a port group" in capsys.readouterr().err
    same = {"--switch": "", "--vlans": "", "--bridge-network": "DC0_DVPG0"}
    refused(own, tmp_path, medium, [*target(own), *place(**same)])
    assert "containers need one of their own" in capsys.readouterr().err


def test_datastores_and_privileges_are_looked_at_before_anything_is_changed(
    medium: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lacking = "Global.DisableMethods,DVPortgroup.Create,VirtualMachine.Config.Resource"
    spoiled = ("-full", "LocalDS_0", "-inaccessible", "LocalDS_1", "-missing", lacking)
    with simulator(*spoiled) as poor:
        before = inventory_objects(poor)
        stores = place(**{"--volume-store": "slow=LocalDS_1"})
        refused(poor, tmp_path, medium, [*target(poor), *stores])
        said = capsys.readouterr().err
        assert "--image-store: datastore LocalDS_0 is full: it has 0 MiB free" in said
        assert (
            "--volume-store slow: datastore LocalDS_1 can't be reached by its hosts; "
            "there are LocalDS_0 (full), LocalDS_1 (inaccessible)"
        ) in said
        for line in (
            "lacks privileges on the vCenter: Global.DisableMethods; `vic role`",
            "on datacenter /DC0: VirtualMachine.Config.Resource",
            "on /DC0/network/DVS0: DVPortgroup.Create",
        ):
            assert line in said
        assert inventory_objects(poor) == before


def inventory_objects(simulated: Simulator) -> list[str]:
    """Return the objects of a vCenter whose datastores can't be read."""

    async def look(vcenter: VCenter) -> list[str]:
        found = await vcenter.call(
            lambda content: read_below(content, content.rootFolder, vim.ManagedEntity, ["name"])
        )
        return sorted(told["name"] for _, told in found)

    return list(on(simulated, look))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("-api-version", "6.5"), "6.7 or later is needed"),
        (("-esx",), "containers need a vCenter"),
    ],
)
def test_what_is_no_vcenter_for_us_is_refused(
    options: tuple[str, ...],
    said: str,
    medium: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with simulator(*options) as unfit:
        refused(unfit, tmp_path, medium, [*target(unfit), *place()])
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1


def test_the_role_is_listed_and_made(own: Simulator, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["role"]) == 0
    assert "VirtualMachine.Inventory.Create" in capsys.readouterr().out
    assert main(["role", *target(own)]) == 0
    assert main(["role", *target(own)]) == 0
    said = capsys.readouterr().out
    assert "made role vic-operator\nrole vic-operator is as it should be" in said


def test_what_only_a_vcenter_has_is_refused_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data-dir", str(tmp_path / "here")]
    assert main(["create", *data, "--image-store", "x", "--anti-affinity"]) == 2
    assert "--image-store, --anti-affinity: only with --target" in capsys.readouterr().err
    assert main(["create", *data, "--target", "vcenter"]) == 2
    assert "--user, --compute-resource, --image-store" in capsys.readouterr().err
