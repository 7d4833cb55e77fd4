"""The images that the tests expect of Docker Hub, made here."""

from dataclasses import replace

from tests.images import Image, Layer, Registry, busybox_image, directory, file, make_tar

_USERS = (
    "root:x:0:0:root:/root:/bin/sh\n"
    "postgres:x:70:70:PostgreSQL:/var/lib/postgresql:/bin/sh\n"
    "nobody:x:65534:65534:nobody:/:/sbin/nologin\n"
)
_GROUPS = "root:x:0:\npostgres:x:70:\nnogroup:x:65533:\nnobody:x:65534:\n"


def alpine(version: str) -> Image:
    """An image that is Alpine by name, with the users and directories that the tests name."""
    layer = Layer(
        make_tar(
            [
                directory("opt"),
                directory("var/opt"),
                directory("var/lib"),
                directory("srv"),
                directory("mnt"),
                file("etc/passwd", _USERS),
                file("etc/group", _GROUPS),
                file("etc/alpine-release", f"{version}\n"),
            ]
        )
    )
    base = busybox_image(config={"Cmd": ["/bin/sh"]})
    return replace(base, layers=(*base.layers, layer))


def hello_world() -> Image:
    """An image that says hello."""
    return busybox_image(config={"Cmd": ["echo", "Hello from Docker!"]})


def push_all(registry: Registry) -> dict[str, str]:
    """Push all of them; returns the reference in the registry of each name on Docker Hub."""
    images = {
        "busybox:latest": busybox_image(),
        "alpine:3.10": alpine("3.10.9"),
        "alpine:latest": alpine("3.20.0"),
        "hello-world:latest": hello_world(),
    }
    found = {}
    for name, image in images.items():
        repository, _, tag = name.partition(":")
        found[name] = registry.push(image, f"library/{repository}", tag)
    return found
