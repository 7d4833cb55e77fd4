"""What users do, with the real docker CLI against the gateway and facets in memory."""

import asyncio
import json

import pytest
from vic.exec.v1 import container_pb2

from tests.unit.gateway.conftest import DOCKER, Endpoint, Eventually
from tests.unit.gateway.fake_containers import OUT
from tests.unit.gateway.fake_facets import FakeSuite

pytestmark = pytest.mark.skipif(DOCKER is None, reason="needs the docker CLI")


@pytest.fixture
def busybox(suite: FakeSuite) -> None:
    suite.pulled("busybox:latest")


async def test_pull(engine: Endpoint, suite: FakeSuite) -> None:
    output = await engine.output("pull", "busybox")
    assert "latest: Pulling from library/busybox" in output
    assert "a1b2c3d4e5f6: Pull complete" in output
    assert "Digest: sha256:dddd" in output
    assert "Status: Downloaded newer image for busybox:latest" in output
    assert "Image is up to date for busybox:latest" in await engine.output("pull", "busybox")
    assert suite.images.pulls[0].reference == "docker.io/library/busybox:latest"


async def test_pull_of_an_unknown_tag(engine: Endpoint) -> None:
    result = await engine.docker("pull", "busybox:nope")
    assert result.code == 1
    assert "manifest for busybox:nope not found" in result.err


async def test_images_inspect_and_rmi(engine: Endpoint, busybox: None) -> None:
    listed = await engine.output("images", "--format", "{{.Repository}}:{{.Tag}} {{.Size}}")
    assert listed == "busybox:latest 4.26MB\n"
    inspected = json.loads(await engine.output("image", "inspect", "busybox"))[0]
    assert inspected["RepoTags"] == ["busybox:latest"]
    assert inspected["Config"]["Cmd"] == ["true"]
    removed = await engine.output("rmi", "busybox")
    assert "Untagged: busybox:latest" in removed
    missing = await engine.docker("rmi", "busybox")
    assert missing.code == 1
    assert "No such image: busybox" in missing.err


async def test_run_keeps_streams_apart_and_passes_the_exit_code(
    engine: Endpoint, busybox: None
) -> None:
    result = await engine.docker("run", "--rm", "busybox", "both", "7")
    assert (result.code, result.out, result.err) == (7, "out\n", "err\n")


async def test_run_pulls_what_is_missing(engine: Endpoint) -> None:
    result = await engine.docker("run", "--rm", "busybox", "echo", "hello")
    assert (result.code, result.out) == (0, "hello\n")
    assert "Unable to find image 'busybox:latest' locally" in result.err


async def test_run_rm_leaves_nothing(engine: Endpoint, suite: FakeSuite, busybox: None) -> None:
    results = await asyncio.gather(
        *(engine.docker("run", "--rm", "busybox", "echo", str(n)) for n in range(6))
    )
    assert [result.out for result in results] == [f"{n}\n" for n in range(6)]
    assert not suite.exec.containers


async def test_run_with_input(engine: Endpoint, busybox: None) -> None:
    assert await engine.output("run", "--rm", "-i", "busybox", "cat", stdin=b"a\nb\n") == "a\nb\n"


async def test_run_of_a_missing_program(engine: Endpoint, busybox: None) -> None:
    result = await engine.docker("run", "busybox", "no-such-program")
    assert result.code == 127
    assert 'exec: "no-such-program": executable file not found in $PATH' in result.err


async def test_detached_life(engine: Endpoint, suite: FakeSuite, busybox: None) -> None:
    container = (await engine.output("run", "-d", "--name", "one", "busybox", "sleep")).strip()
    assert len(container) == 64
    row = await engine.output("ps", "--no-trunc", "--format", "{{.ID}} {{.Names}} {{.Command}}")
    assert row == f'{container} one "sleep"\n'
    assert (await engine.output("ps", "--format", "{{.Status}}")).startswith("Up ")
    assert await engine.output("logs", "one") == "sleeping\n"
    assert await engine.output("stop", "-t", "3", "one") == "one\n"
    assert suite.exec.requests[-1].timeout.seconds == 3
    assert await engine.output("ps", "-q") == ""
    assert (await engine.output("ps", "-a", "--format", "{{.Status}}")).startswith("Exited (143)")
    assert await engine.output("wait", "one") == "143\n"
    assert await engine.output("start", "one") == "one\n"
    assert await engine.output("kill", "-s", "KILL", "one") == "one\n"
    assert await engine.output("rename", "one", "two") == ""
    assert await engine.output("rm", "two") == "two\n"
    gone = await engine.docker("inspect", "two")
    assert "no such object: two" in gone.err.lower()


async def test_remove_of_a_running_container(engine: Endpoint, busybox: None) -> None:
    await engine.output("run", "-d", "--name", "one", "busybox", "sleep")
    refused = await engine.docker("rm", "one")
    assert refused.code == 1
    assert "container is running: stop the container before removing" in refused.err
    assert await engine.output("rm", "-f", "one") == "one\n"


async def test_start_attached(engine: Endpoint, busybox: None) -> None:
    await engine.output("create", "--name", "one", "busybox", "both", "3")
    for _ in range(3):
        result = await engine.docker("start", "-a", "one")
        assert (result.code, result.out, result.err) == (3, "out\n", "err\n")


async def test_logs_with_times_and_tail(engine: Endpoint, busybox: None) -> None:
    await engine.output("run", "--name", "one", "busybox", "both", "0")
    assert await engine.output("logs", "--tail", "0", "one") == ""
    stamped = await engine.output("logs", "-t", "one")
    time, _, line = stamped.partition(" ")
    assert line == "out\n"
    assert len(time) == len("2006-01-02T15:04:05.000000000Z")


async def test_follow_ends_with_the_container(
    engine: Endpoint, suite: FakeSuite, busybox: None
) -> None:
    await engine.output("run", "-d", "--name", "one", "busybox", "sleep")
    following = asyncio.create_task(engine.docker("logs", "-f", "one"))
    await engine.output("kill", "one")
    assert (await following).out == "sleeping\n"


async def test_attach_sees_what_comes(
    engine: Endpoint, suite: FakeSuite, busybox: None, eventually: Eventually
) -> None:
    await engine.output("run", "-d", "--name", "one", "busybox", "sleep")
    attaching = asyncio.create_task(engine.docker("attach", "--no-stdin", "one"))
    await eventually(lambda: suite.interaction.attached == 1)
    suite.exec.find("one").write(OUT, b"late\n")
    await engine.output("stop", "one")
    result = await attaching
    assert (result.code, result.out) == (143, "late\n")


async def test_attach_to_a_stopped_container(engine: Endpoint, busybox: None) -> None:
    await engine.output("run", "--name", "one", "busybox", "true")
    result = await engine.docker("attach", "one")
    assert "cannot attach to a stopped container, start it first" in result.err.lower()


async def test_name_in_use(engine: Endpoint, busybox: None) -> None:
    await engine.output("create", "--name", "one", "busybox")
    result = await engine.docker("create", "--name", "one", "busybox")
    assert result.code == 1
    assert 'Conflict. The container name "/one" is already in use' in result.err


async def test_options_of_a_run(engine: Endpoint, suite: FakeSuite, busybox: None) -> None:
    options = (
        "-e A=1 -w /srv --entrypoint echo -u 1000:1000 -l k=v -h host -m 64m --cpus 1.5 "
        "--stop-signal SIGINT --stop-timeout 4 --name one --pull never --network bridge "
        "--restart on-failure:3"
    )
    await engine.output("run", *options.split(), "busybox", "hello")
    spec = suite.exec.find("one").proto.spec
    assert list(spec.process.env) == ["A=1"]
    assert (spec.process.cwd, spec.process.user, spec.hostname) == ("/srv", "1000:1000", "host")
    assert (list(spec.entrypoint), list(spec.command)) == (["echo"], ["hello"])
    assert dict(spec.labels) == {"k": "v"}
    assert spec.resources.memory_bytes == 64 * 1024 * 1024
    assert spec.resources.nano_cpus == 1_500_000_000
    assert (spec.stop_signal, spec.stop_timeout.seconds) == ("SIGINT", 4)
    assert spec.restart_policy.condition == container_pb2.RESTART_CONDITION_ON_FAILURE
    assert spec.restart_policy.maximum_retries == 3
    assert spec.network_mode == "bridge"


@pytest.mark.parametrize(
    ("option", "name"),
    [
        ("--gpus=all", "HostConfig.DeviceRequests"),
        ("--storage-opt=size=1g", "HostConfig.StorageOpt"),
        ("-p=80:80/sctp", "protocol sctp in HostConfig.PortBindings"),
        ("--log-driver=gelf", "logging driver 'gelf'"),
    ],
)
async def test_what_is_not_implemented_is_refused_by_name(
    engine: Endpoint, busybox: None, option: str, name: str
) -> None:
    result = await engine.docker("create", option, "busybox")
    assert result.code == 1
    assert f"{name} is not implemented yet" in result.err


async def test_options_of_a_kernel_of_its_own_arrive(
    engine: Endpoint, busybox: None, suite: FakeSuite
) -> None:
    options = (
        "--name one --init --read-only --cap-add NET_ADMIN --cap-drop ALL --ulimit nofile=5:-1 "
        "--sysctl net.core.somaxconn=1 --shm-size 1m --device /dev/fuse:/dev/x:r --ipc none "
        "--security-opt no-new-privileges --security-opt systempaths=unconfined "
        "--oom-score-adj -5 --userns host --group-add 7 --annotation a=b --cpuset-cpus 0-1 "
        "--device-read-bps /dev/vda:1mb --memory 64m --memory-swap -1 --memory-swappiness 0"
    )
    await engine.output("create", *options.split(), "busybox", "hello")
    spec = suite.exec.find("one").proto.spec
    process, sandbox = spec.process, spec.sandbox
    assert (list(process.capabilities.add), list(process.capabilities.drop)) == (
        ["CAP_NET_ADMIN"],
        ["ALL"],
    )
    assert [(r.name, r.soft, r.hard) for r in process.rlimits] == [("nofile", 5, 2**64 - 1)]
    assert (process.oom_score_adj, list(process.additional_groups)) == (-5, ["7"])
    assert process.no_new_privileges
    assert (sandbox.init, sandbox.no_shm, spec.read_only_root) == (True, True, True)
    assert dict(sandbox.sysctls) == {"net.core.somaxconn": "1"}
    assert [(d.path, d.container_path, d.permissions) for d in sandbox.devices] == [
        ("/dev/fuse", "/dev/x", "r")
    ]
    assert sandbox.HasField("masked_paths")
    assert list(sandbox.masked_paths.paths) == []
    shown = json.loads(await engine.output("inspect", "one"))[0]["HostConfig"]
    assert shown["Ulimits"] == [{"Name": "nofile", "Hard": -1, "Soft": 5}]
    assert shown["BlkioDeviceReadBps"] == [{"Path": "/dev/vda", "Rate": 1024 * 1024}]
    assert (shown["MemorySwap"], shown["MemorySwappiness"], shown["CpusetCpus"]) == (-1, 0, "0-1")
    assert (shown["ShmSize"], shown["IpcMode"], shown["UsernsMode"]) == (2**20, "none", "host")
    assert shown["SecurityOpt"] == ["no-new-privileges"]
    assert (shown["Init"], shown["MaskedPaths"], shown["Annotations"]) == (True, [], {"a": "b"})


@pytest.mark.parametrize("mode", ["host", "container:one"])
async def test_a_network_stack_of_others_is_refused_with_the_reason(
    engine: Endpoint, busybox: None, mode: str
) -> None:
    result = await engine.docker("create", f"--network={mode}", "busybox")
    assert result.code == 1
    assert f"HostConfig.NetworkMode '{mode}' is not supported: each container is a virtual" in (
        result.err
    )


async def test_a_container_asks_for_its_place_in_networks(
    engine: Endpoint, busybox: None, suite: FakeSuite
) -> None:
    options = (
        "--network name=app,ip=10.1.0.9,alias=db,mac-address=02:42:0a:01:00:99 --network other"
    )
    await engine.output("create", "--name", "one", *options.split(), "busybox")
    (spec,) = [c.proto.spec for c in suite.exec.containers.values()]
    assert spec.network_mode == "app"
    assert [(n.network, n.ipv4_address, n.mac_address, list(n.aliases)) for n in spec.networks] == [
        ("app", "10.1.0.9", "02:42:0a:01:00:99", ["db"]),
        ("other", "", "", []),
    ]


async def test_a_container_asks_for_ports(
    engine: Endpoint, busybox: None, suite: FakeSuite
) -> None:
    options = "-p 8080:80 -p 127.0.0.1::53/udp -p 9000-9001:90-91 -p 9100-9109:95 -P --expose 7"
    container_id = (await engine.output("create", *options.split(), "busybox")).strip()
    spec = suite.exec.find(container_id).proto.spec
    assert spec.publish_all_ports
    exposed = "53/udp 7/tcp 80/tcp 90/tcp 91/tcp 95/tcp"
    assert sorted(spec.exposed_ports) == exposed.split()
    tcp, udp = container_pb2.PROTOCOL_TCP, container_pb2.PROTOCOL_UDP
    assert sorted(
        (b.container_port, b.protocol, b.host_address, b.host_port_start, b.host_port_end)
        for b in spec.port_bindings
    ) == [
        (53, udp, "127.0.0.1", 0, 0),
        (80, tcp, "", 8080, 8080),
        (90, tcp, "", 9000, 9000),
        (91, tcp, "", 9001, 9001),
        (95, tcp, "", 9100, 9109),
    ]
    shown = json.loads(await engine.output("inspect", container_id))[0]
    assert shown["HostConfig"]["PublishAllPorts"] is True
    assert shown["HostConfig"]["PortBindings"] == {
        "53/udp": [{"HostIp": "127.0.0.1", "HostPort": ""}],
        "80/tcp": [{"HostIp": "", "HostPort": "8080"}],
        "90/tcp": [{"HostIp": "", "HostPort": "9000"}],
        "91/tcp": [{"HostIp": "", "HostPort": "9001"}],
        "95/tcp": [{"HostIp": "", "HostPort": "9100-9109"}],
    }
    assert shown["NetworkSettings"]["Ports"] == {}


async def test_published_ports_are_shown_while_a_container_runs(
    engine: Endpoint, busybox: None, suite: FakeSuite
) -> None:
    options = "--name one -p 80 -p 127.0.0.1:5353:53/udp --expose 7"
    await engine.output("create", *options.split(), "busybox")
    one = suite.exec.find("one").proto
    for port, protocol, address, given in (
        (80, container_pb2.PROTOCOL_TCP, "0.0.0.0", 49153),
        (53, container_pb2.PROTOCOL_UDP, "127.0.0.1", 5353),
    ):
        one.published_ports.add(
            container_port=port,
            protocol=protocol,
            host_address=address,
            host_port_start=given,
            host_port_end=given,
        )
    # What an image declares may be no port at all.
    one.spec.exposed_ports.append("web")
    one.status.state = container_pb2.CONTAINER_STATE_RUNNING
    assert sorted((await engine.output("port", "one")).splitlines()) == [
        "53/udp -> 127.0.0.1:5353",
        "80/tcp -> 0.0.0.0:49153",
    ]
    assert await engine.output("port", "one", "80") == "0.0.0.0:49153\n"
    shown = (await engine.output("ps", "--format", "{{.Ports}}")).strip()
    expected = {"0.0.0.0:49153->80/tcp", "127.0.0.1:5353->53/udp", "7/tcp"}
    assert set(shown.split(", ")) == expected
    template = "{{json .NetworkSettings.Ports}}"
    assert json.loads(await engine.output("inspect", "-f", template, "one")) == {
        "53/udp": [{"HostIp": "127.0.0.1", "HostPort": "5353"}],
        "7/tcp": None,
        "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "49153"}],
        "web": None,
    }
    for state in (
        container_pb2.CONTAINER_STATE_RESTARTING,
        container_pb2.CONTAINER_STATE_EXITED,
    ):
        one.status.state = state
        assert await engine.output("inspect", "-f", template, "one") == "{}\n"
        assert await engine.output("ps", "-a", "--format", "{{.Ports}}") == "\n"


async def test_version_and_info(engine: Endpoint) -> None:
    version = await engine.output("version", "--format", "{{.Server.APIVersion}}")
    assert version == "1.51\n"
    info = json.loads(await engine.output("info", "--format", "{{json .}}"))
    assert info["Swarm"]["LocalNodeState"] == "inactive"
    assert info["NCPU"] == 2


async def test_network_ls(engine: Endpoint) -> None:
    rows = await engine.output("network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}}")
    assert rows == "bridge bridge local\nnone null local\n"
    missing = await engine.docker("network", "inspect", "nowhere")
    assert "network nowhere not found" in missing.err


async def test_swarm_and_plugins_are_refused(engine: Endpoint) -> None:
    assert "This node is not a swarm manager" in (await engine.docker("service", "ls")).err
    assert "is not implemented yet" in (await engine.docker("plugin", "enable", "one")).err


async def test_events_of_a_life(engine: Endpoint, suite: FakeSuite, busybox: None) -> None:
    await engine.output("run", "--rm", "--name", "one", "busybox", "true")
    rows = await engine.output(
        *("events", "--since", "1700000000", "--until", "0s"),
        *("--filter", "container=one", "--format", "{{.Action}}"),
    )
    assert rows.split() == ["create", "start", "die", "destroy"]


async def test_cidfile(engine: Endpoint, busybox: None) -> None:
    path = engine.path.parent / "cid"
    container = await engine.output("create", "--cidfile", str(path), "busybox")
    assert path.read_text() == container.strip()
