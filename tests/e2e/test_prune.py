"""What `docker ... prune` takes, and that what containers run with is left as it was."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.e2e.suite import Suite
from tests.e2e.test_network import addresses_of
from tests.images import Registry, multi_layer_image


@pytest.fixture(autouse=True)
def _nothing_left(suite: Suite) -> Iterator[None]:
    """Every test ends without containers, and then without networks and volumes."""
    yield
    if left := suite.ok("ps", "--all", "--quiet").split():
        suite.ok("rm", "--force", "--volumes", *left)
    suite.ok("network", "prune", "--force")
    suite.ok("volume", "prune", "--all", "--force")


def removed(told: str) -> set[str]:
    """Return the names under the headings of what a prune says."""
    lines = (line for line in told.splitlines() if line and not line.endswith(":"))
    return {line for line in lines if not line.startswith("Total reclaimed space")}


def networks(suite: Suite) -> set[str]:
    return set(suite.ok("network", "ls", "--format", "{{.Name}}").split())


def volumes(suite: Suite) -> set[str]:
    return set(suite.ok("volume", "ls", "--quiet").split())


def volume_of(suite: Suite, container: str, target: str) -> str:
    """Return the name of the volume that a container has at a path."""
    mounts = suite.inspect(container)["Mounts"]
    return next(str(mount["Name"]) for mount in mounts if mount["Destination"] == target)


def test_networks_that_running_containers_are_in_stay(suite: Suite, image: str) -> None:
    for name in ("used", "joined", "ended", "unused"):
        suite.ok("network", "create", name)
    suite.ok("network", "create", "--label", "keep", "labelled")
    for name in ("one", "two"):
        suite.ok("run", "-d", "--name", name, "--network", "used", image, "sleep", "1000")
    suite.ok("network", "connect", "joined", "two")
    suite.ok("create", "--name", "stopped", "--network", "ended", image, "true")
    # The network of what has just ended goes as well.
    suite.ok("start", "--attach", "stopped")
    assert suite.ok("network", "prune", "--force", "--filter", "until=1h") == ""
    told = suite.ok("network", "prune", "--force", "--filter", "label!=keep")
    assert removed(told) == {"ended", "unused"}
    assert networks(suite) == {"bridge", "none", "used", "joined", "labelled"}
    assert addresses_of(suite, "one", "two") != set()
    for network in ("used", "joined"):
        address = suite.inspect("two")["NetworkSettings"]["Networks"][network]["IPAddress"]
        assert suite.docker("exec", "two", "ping", "-c1", "-w20", address).returncode == 0
    assert suite.docker("exec", "one", "ping", "-c1", "-w20", "two").returncode == 0
    suite.refused("start", "stopped", code=1, message="not found")
    # What was there for one of them goes when it does.
    suite.ok("network", "disconnect", "joined", "two")
    assert removed(suite.ok("network", "prune", "--force")) == {"joined", "labelled"}
    wrong = ("network", "prune", "--force", "--filter", "color=red")
    suite.refused(*wrong, code=1, message="color")


def test_volumes_that_containers_have_stay(suite: Suite, image: str) -> None:
    suite.ok("volume", "create", "--label", "keep", "labelled")
    suite.ok("volume", "create", "named")
    mounts = ("-v", "held:/held", "-v", "/anonymous")
    writing = "echo before > /held/file; echo before > /anonymous/file; sync; "
    writing += "echo written; exec sleep 1000"
    suite.ok("run", "-d", "--name", "busy", *mounts, image, "sh", "-c", writing)
    suite.await_output("busy", "written")
    suite.ok("create", "--name", "standing", "-v", "/standing", image)
    suite.ok("create", "--name", "gone", "-v", "/gone", image)
    left = volume_of(suite, "gone", "/gone")
    suite.ok("rm", "gone")
    theirs = {"held", volume_of(suite, "busy", "/anonymous")}
    theirs.add(volume_of(suite, "standing", "/standing"))
    # Without more only those that nobody gave a name.
    assert removed(suite.ok("volume", "prune", "--force")) == {left}
    assert volumes(suite) == theirs | {"named", "labelled"}
    chosen = ("volume", "prune", "--all", "--force", "--filter", "label!=keep")
    assert removed(suite.ok(*chosen)) == {"named"}
    assert volumes(suite) == theirs | {"labelled"}
    assert removed(suite.ok("volume", "prune", "--all", "--force")) == {"labelled"}
    reading = "cat /held/file /anonymous/file; echo after >> /held/file; cat /held/file"
    told = suite.ok("exec", "busy", "sh", "-c", reading)
    assert told.split() == ["before", "before", "before", "after"]
    wrong = ("volume", "prune", "--force", "--filter", "color=red")
    suite.refused(*wrong, code=1, message="color")


def test_containers_that_run_stay(suite: Suite, image: str) -> None:
    suite.ok("run", "-d", "--name", "busy", image, "sleep", "1000")
    suite.ok("create", "--name", "kept", "-l", "keep", image)
    suite.ok("create", "--name", "gone", image)
    suite.ok("container", "prune", "-f", "--filter", "until=1h")
    pruned = suite.ok("container", "prune", "-f", "--filter", "label!=keep")
    assert "Deleted Containers:" in pruned
    listed = suite.ok("ps", "-a", "--format", "{{.Names}}").split()
    assert sorted(listed) == ["busy", "kept"]
    suite.refused("container", "prune", "-f", "--filter", "color=red", code=1, message="color")


def test_images_that_have_a_name_or_a_container_stay(
    suite: Suite, registry: Registry, image: str
) -> None:
    labelled = replace(multi_layer_image(2), config={"Cmd": ["sh"], "Labels": {"e2e": "prune"}})
    reference = registry.push(labelled, "pruned")
    suite.ok("pull", reference)
    # What builds of other tests on this suite have left.
    suite.ok("image", "prune", "--force")
    assert "Total reclaimed space: 0B" in suite.ok("image", "prune", "--force")
    chosen = ("image", "prune", "--all", "--force", "--filter", "label=e2e=prune")
    container = suite.ok("create", reference)
    assert labelled.id not in suite.ok(*chosen)
    suite.ok("rm", container)
    assert f"deleted: {labelled.id}" in suite.ok(*chosen)
    suite.refused("inspect", "--type", "image", reference, code=1, message="o such image")
    suite.inspect(image)


def test_a_prune_of_the_whole_leaves_a_running_container_all_it_has(
    suite: Suite, registry: Registry, image: str
) -> None:
    unused = registry.push(multi_layer_image(2), "unused")
    suite.ok("pull", unused)
    for name in ("used", "unused"):
        suite.ok("network", "create", name)
    theirs = ("--network", "used", "-v", "/anonymous")
    suite.ok("run", "-d", "--name", "busy", *theirs, image, "sleep", "1000")
    suite.ok("create", "--name", "gone", "--network", "unused", "-v", "/gone", image)
    gone, held = volume_of(suite, "gone", "/gone"), volume_of(suite, "busy", "/anonymous")
    told = suite.ok("system", "prune", "--all", "--volumes", "--force")
    assert {"unused", gone, f"untagged: {unused}"} <= removed(told)
    assert suite.ok("ps", "--all", "--format", "{{.Names}}") == "busy"
    assert networks(suite) == {"bridge", "none", "used"}
    assert volumes(suite) == {held}
    suite.refused("inspect", "--type", "image", unused, code=1, message="o such image")
    suite.ok("exec", "busy", "sh", "-c", "echo there > /anonymous/file && ping -c1 -w20 busy")
    # Nothing that its next start needs has gone either.
    suite.ok("restart", "--time", "0", "busy")
    assert suite.ok("exec", "busy", "cat", "/anonymous/file") == "there"
