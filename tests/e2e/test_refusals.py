"""Bad input: a clear message in Docker's form, with Docker's status, and the suite goes on."""

import os
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.e2e.suite import Suite
from tests.images import (
    Layer,
    Registry,
    busybox_image,
    directory,
    file,
    make_tar,
    multi_layer_image,
)

pytestmark = pytest.mark.usefixtures("containers")

HTPASSWD = "me:$2b$04$jVICzRRKoOOx9YDcJrpFt.9OE.gBck0OQSE8hiKAvZJ95.a3jeeLa\n"  # "secret"


@pytest.fixture(autouse=True)
def _goes_on(suite: Suite, image: str) -> Iterator[None]:
    """After each refusal the suite still runs containers."""
    yield
    assert suite.ok("run", "--rm", image, "echo", "still here") == "still here"


def test_an_unknown_image(suite: Suite, registry: Registry) -> None:
    name = f"{registry.address}/no/such"
    suite.refused("pull", name, code=1, message=f"manifest for {name}:latest not found")


def test_an_unknown_tag(suite: Suite, image: str) -> None:
    name = image.removesuffix(":latest")
    suite.refused("pull", f"{name}:nope", code=1, message=f"manifest for {name}:nope not found")


def test_an_unknown_host(suite: Suite) -> None:
    suite.refused("pull", "registry.invalid/x", code=1, message="no such host")


def test_a_wrong_password_and_then_the_right_one(suite: Suite) -> None:
    with Registry(htpasswd=HTPASSWD) as locked:
        reference = locked.push(multi_layer_image(2), "locked", login=("me", "secret"))
        suite.refused("pull", reference, code=1, message="no basic auth credentials")
        with suite.logged_in(locked.address, "me", "wrong-one"):
            done = suite.docker("pull", reference)
        assert done.returncode == 1
        assert "unauthorized" in done.stderr
        assert "wrong-one" not in done.stderr + suite.logs()
        with suite.logged_in(locked.address, "me", "secret"):
            suite.ok("pull", reference)
        suite.ok("rmi", reference)
        assert "secret" not in suite.logs()


def test_a_corrupt_layer_leaves_nothing_behind(suite: Suite) -> None:
    entries = [directory("corrupt"), file("corrupt/content", os.urandom(100_000))]
    layer = Layer(make_tar(entries))
    image = replace(busybox_image(), layers=(*busybox_image().layers, layer))
    with Registry() as lying:
        reference = lying.push(image, "corrupt")
        digest = layer.digest.removeprefix("sha256:")
        stored = lying.data / "blobs" / "sha256" / digest[:2] / digest / "data"
        content = bytearray(stored.read_bytes())
        content[len(content) // 2] ^= 0xFF
        stored.write_bytes(content)
        before = suite.stored_files()
        suite.refused("pull", reference, code=1, message="")
        assert suite.stored_files() == before
        assert reference not in suite.ok("images", "--format", "{{.Repository}}:{{.Tag}}")


def test_no_command(suite: Suite, registry: Registry) -> None:
    reference = registry.push(busybox_image(config={"Cmd": None}), "no-command")
    suite.ok("pull", reference)
    suite.refused("create", reference, code=1, message="no command specified")


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ("no-such-program", 127, "executable file not found"),
        ("/etc/passwd", 126, "permission denied"),
        ("/no/such/file", 127, "no such file or directory"),
    ],
)
def test_an_impossible_command(
    suite: Suite, image: str, command: str, code: int, message: str
) -> None:
    suite.refused("run", "--rm", image, command, code=code, message=message)
    assert suite.ok("ps", "-aq") == ""


@pytest.mark.parametrize("user", ["nosuch", "0:nosuch"])
def test_an_unknown_user_or_group_is_named(suite: Suite, image: str, user: str) -> None:
    done = suite.docker("run", "--rm", "-u", user, image, "true")
    assert done.returncode in (125, 126)
    assert "nosuch" in done.stderr


def test_a_working_directory_that_is_a_file(suite: Suite, image: str) -> None:
    done = suite.docker("run", "--rm", "-w", "/etc/passwd", image, "true")
    assert done.returncode in (125, 126, 127)
    assert "not a directory" in done.stderr


def test_a_relative_working_directory(suite: Suite, image: str) -> None:
    suite.refused("run", "--rm", "-w", "here", image, "true", code=125, message="here")


def test_a_name_that_is_taken(suite: Suite, image: str) -> None:
    suite.ok("create", "--name", "mine", image)
    suite.refused(
        "create",
        "--name",
        "mine",
        image,
        code=1,
        message='The container name "/mine" is already in use by container',
    )


def test_an_invalid_name(suite: Suite, image: str) -> None:
    suite.refused("create", "--name", "-bad/", image, code=1, message="Invalid container name")


def test_memory_below_the_minimum(suite: Suite, image: str) -> None:
    suite.refused("run", "--rm", "-m", "4m", image, "true", code=125, message="inimum memory limit")


def test_an_unknown_container(suite: Suite) -> None:
    for verb in ("start", "stop", "kill", "rm", "logs"):
        suite.refused(verb, "nobody", code=1, message="No such container: nobody")


@pytest.mark.parametrize(
    "option",
    [["--gpus", "all"], ["-p", "8080:80/sctp"], ["--storage-opt", "size=1g"]],
)
def test_an_option_that_is_not_there_yet_is_refused_by_name(
    suite: Suite, image: str, option: list[str]
) -> None:
    done = suite.docker("run", "--rm", *option, image, "true")
    assert done.returncode == 125
    assert "not implemented" in done.stderr.lower()


def test_a_body_that_is_not_json(suite: Suite) -> None:
    status, body = suite.api("POST", "/containers/create", b"{")
    assert status == 400
    assert set(body) == {"message"}


def test_a_client_too_new_and_one_too_old(suite: Suite) -> None:
    status, body = suite.api("GET", "/v1.99/info")
    assert (status, body) == (
        400,
        {"message": "client version 1.99 is too new. Maximum supported API version is 1.51"},
    )
    status, body = suite.api("GET", "/v1.20/info")
    assert (status, body) == (
        400,
        {
            "message": "client version 1.20 is too old. Minimum supported API version is 1.24, "
            "please upgrade your client to a newer version"
        },
    )


def test_an_unknown_path(suite: Suite) -> None:
    assert suite.api("GET", "/v1.43/nonsense") == (404, {"message": "page not found"})


def test_what_is_not_implemented_answers_501_naming_it(suite: Suite) -> None:
    status, body = suite.api("POST", "/v1.43/session")
    assert status == 501
    assert "session" in body["message"]


def test_swarm_is_refused_as_docker_does(suite: Suite) -> None:
    status, body = suite.api("GET", "/v1.43/services")
    assert status == 503
    assert body["message"].startswith("This node is not a swarm manager.")
