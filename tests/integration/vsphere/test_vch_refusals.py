"""What `vic create` refuses on a vCenter: before it changes anything, and all at once."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyVmomi import vim

from installer.__main__ import main
from portlayer.vsphere.properties import read_below
from portlayer.vsphere.session import VCenter
from tests.integration.vsphere.vch import inventory, on, place, target
from tests.vcenter import PASSWORD, Simulator, make_certificate, simulator

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="vic create needs root")


@pytest.fixture(scope="module")
def own() -> Iterator[Simulator]:
    """A vCenter with VMs of others."""
    with simulator("-machines", "2") as running:
        yield running


def refused(simulated: Simulator, short_path: Path, medium: Path, options: list[str]) -> str:
    """Return what a create that must fail says, and see that it has left nothing."""
    data = short_path / secrets.token_hex(4)
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
        (["--container-network", "DC0_DVPG1:lan"], "say its router by --container-network-gateway"),
        (["--volume-store", "x"], "NAME=DATASTORE"),
    ],
)
def test_one_wrong_word_is_one_line(
    own: Simulator,
    medium: Path,
    short_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    said: str,
) -> None:
    before = inventory(own)
    refused(own, short_path, medium, [*target(own), *place(), *options])
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1
    assert PASSWORD not in error
    assert inventory(own) == before


def test_all_that_is_wrong_is_said_at_once(
    own: Simulator, medium: Path, short_path: Path, capsys: pytest.CaptureFixture[str]
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
    refused(own, short_path, medium, [*target(own), *wrong])
    said = capsys.readouterr().err
    for word in (
        "--image-store: there is no datastore tape; there are LocalDS_0, LocalDS_1",
        "--volume-store slow: there is no datastore drum",
        # Those of the switch's uplinks are no place for a VM.
        "--management-network: there is no port group nowhere; there are DC0_DVPG0, DC0_DVPG1, V",
        "--bridge-network: there is no port group DC0_DVPG9",
        "--client-network: there is no port group neither",
        "--switch: there is no distributed switch /DC0/network/none; there is /DC0/network/DVS0",
        "--host-group: the cluster has no host group fast; there is none",
        "--name: /DC0/vm has a folder or VM DC0_C0_RP0_VM0",
        "--memory: 1 MiB hold no container",
    ):
        assert word in said
    assert len(said.strip().splitlines()) == 9
    # There is one datacenter, so that what is no pool of it hides nothing else.
    wrong = place(**{"--compute-resource": "C9", "--image-store": "tape", "--vlans": "9"})
    refused(own, short_path, medium, [*target(own), *wrong, "--name", "DC0_C0_RP0_VM0"])
    said = capsys.readouterr().err
    assert "no cluster or pool C9; there are /DC0/host/DC0_C0 (or a" in said
    assert "--image-store: there is no datastore tape" in said
    assert "--name: /DC0/vm has a folder or VM DC0_C0_RP0_VM0" in said
    assert len(said.strip().splitlines()) == 3
    # What is said of the vCenter itself is read, though none can be asked.
    there = ["--target", "http://x:1", "--user", "x", "--password-file", "/nowhere"]
    refused(own, short_path, medium, [*there, "--thumbprint", "ab", *place(), "--cpu", "x"])
    said = capsys.readouterr().err
    for word in ("invalid --target", "--thumbprint: 'ab'", "No such file", "--cpu: not a number"):
        assert word in said
    assert len(said.strip().splitlines()) == 4
    refused(own, short_path, medium, [*target(own), *place(**{"--switch": "", "--vlans": ""})])
    assert "--bridge-network: give a port group" in capsys.readouterr().err
    networks = ["--container-network", "DC0_DVPG0:lan", "--container-network", "nowhere"]
    networks += ["--container-network-gateway", "DC0_DVPG0:10.2.0.1/16"]
    networks += ["--container-network-gateway", "nowhere:10.3.0.1/16"]
    networks += ["--container-network-firewall", "nowhere:open"]
    refused(own, short_path, medium, [*target(own), *place(), *networks])
    said = capsys.readouterr().err
    assert "--container-network: there is no port group nowhere; there are" in said
    assert "level published can't be kept; say DC0_DVPG0:open" in said
    assert len(said.strip().splitlines()) == 2
    levels = ["--container-network", "DC0_DVPG0:lan", "--container-network-firewall"]
    levels += ["DC0_DVPG0:peers", "--container-network-gateway", "DC0_DVPG0:10.2.0.1/16"]
    alone = place(**{"--switch": "", "--vlans": "", "--bridge-network": "DC0_DVPG1"})
    refused(own, short_path, medium, [*target(own), *alone, *levels])
    said = capsys.readouterr().err
    assert "the level peers needs a port group of the VCH's own" in said
    assert len(said.strip().splitlines()) == 1
    # Of words that mean nothing as well, and beside them what others name in vain.
    words = ["--memory", "much", "--name", "a/b", "--vlans", "x", "--container-network", "lan:"]
    refused(own, short_path, medium, [*target(own), *place(), *words])
    assert len(capsys.readouterr().err.strip().splitlines()) == 4
    words += ["--switch", "/DC0/network/none", "--client-network", "neither"]
    words += ["--volume-store", "x", "--volume-store", "slow=drum/x", "--image-store", ""]
    refused(own, short_path, medium, [*target(own), *place(), *words])
    said = capsys.readouterr().err
    for word in (
        "invalid --volume-store 'x'",
        "--image-store: needed with --target",
        "--volume-store slow: there is no datastore drum",
        "--client-network: there is no port group neither",
        "--switch: there is no distributed switch /DC0/network/none",
    ):
        assert word in said
    assert len(said.strip().splitlines()) == 9
    same = {"--switch": "", "--vlans": "", "--bridge-network": "DC0_DVPG0"}
    refused(own, short_path, medium, [*target(own), *place(**same)])
    assert "containers need one of their own" in capsys.readouterr().err


def test_datastores_and_privileges_are_looked_at_before_anything_is_changed(
    medium: Path, short_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    worn = ("-maintenance", "LocalDS_0")
    with simulator(*worn) as poor:
        refused(poor, short_path, medium, [*target(poor), *place()])
        said = capsys.readouterr().err
        assert "--image-store: datastore LocalDS_0 is in maintenance mode: end that" in said
        assert "there are LocalDS_0 (in maintenance mode), LocalDS_1" in said
    lacking = "Global.DisableMethods,DVPortgroup.Create,VirtualMachine.Config.Resource"
    spoiled = ("-full", "LocalDS_0", "-inaccessible", "LocalDS_1", "-missing", lacking)
    with simulator(*spoiled) as poor:
        before = inventory_objects(poor)
        stores = place(**{"--volume-store": "slow=LocalDS_1"})
        refused(poor, short_path, medium, [*target(poor), *stores])
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
    short_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with simulator(*options) as unfit:
        refused(unfit, short_path, medium, [*target(unfit), *place()])
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1


def test_the_role_is_listed_and_made(own: Simulator, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["role"]) == 0
    assert "VirtualMachine.Inventory.Create" in capsys.readouterr().out
    assert main(["role", *target(own)]) == 0
    assert main(["role", *target(own)]) == 0
    assert main(["role", *target(own), "--role-name", " "]) == 2
    assert main(["role", "--user", "x"]) == 2
    told = capsys.readouterr()
    assert told.err == "vic: --role-name: a role needs a name\nvic: --user: only with --target\n"
    said = told.out
    assert "made role vic-operator\nrole vic-operator is as it should be" in said


def test_what_only_a_vcenter_has_is_refused_here(
    short_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data-dir", str(short_path / "here")]
    wrong = ["--memory", "much", "--host", "x", "--container-network", "no0:lan"]
    wrong += ["--container-network-gateway", "no0:10.2.0.1/16"]
    assert main(["create", *data, "--image-store", "x", "--anti-affinity", *wrong]) == 2
    said = capsys.readouterr().err
    for word in (
        "--image-store: only with --target",
        "--anti-affinity: only with --target",
        "--memory: not a size: 'much'",
        "invalid --host 'x'",
        "--container-network: there is no network interface no0",
    ):
        assert word in said
    assert len(said.strip().splitlines()) == 5
    for verb in (["create", *data], ["ls"]):
        assert main([*verb, "--user", "x", "--ca-file", "/y"]) == 2
        said = capsys.readouterr().err
        assert "--user: only with --target" in said
        assert "--ca-file: only with --target" in said
    assert main(["create", *data, "--memory", "1m"]) == 2
    assert "--memory: 1 MiB hold no container" in capsys.readouterr().err
    assert main(["create", *data, "--target", "vcenter"]) == 2
    said = capsys.readouterr().err
    for option in ("--user", "--compute-resource", "--image-store", "--management-network"):
        assert f"{option}: needed with --target" in said
    assert "--password-file or --certificate-file: needed with --target" in said
    assert not (short_path / "here").exists()
