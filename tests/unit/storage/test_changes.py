"""Dockerfile instructions of `docker import -c` and `docker commit -c`."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portlayer.dockerfile.changes import apply_changes
from portlayer.dockerfile.defaults import ContainerDefaults, HealthCheck
from portlayer.errors import InvalidArgument
from services.storage.authoring.config_json import config_json
from services.storage.imagec.config import ImageConfig, parse_config
from services.storage.imagec.manifest import Platform

BASE = ContainerDefaults(
    env=("PATH=/bin", "OLD=1"), command=("old",), labels={"a": "1"}, working_directory="/w"
)
SECOND = 1_000_000_000


def after(*changes: str) -> ContainerDefaults:
    return apply_changes(BASE, changes)


def test_commands_are_json_or_the_shells() -> None:
    assert after('CMD ["a", "b c"]').command == ("a", "b c")
    assert after("cmd echo $HOME").command == ("/bin/sh", "-c", "echo $HOME")
    assert after('SHELL ["/bin/ash","-c"]', "CMD x").command == ("/bin/ash", "-c", "x")
    assert after('CMD ["a", 1]').command == ("/bin/sh", "-c", '["a", 1]')
    # An entry point drops a command that was inherited, not one that is given beside it.
    assert after("ENTRYPOINT x").command == ()
    assert after('CMD ["y"]', 'ENTRYPOINT ["x"]').command == ("y",)


def test_environment_sees_what_was_before_its_instruction() -> None:
    assert after("ENV OLD=2 NEW=$OLD").env == ("PATH=/bin", "OLD=2", "NEW=1")
    assert after("ENV A=b", "ENV C=$A${A}").env[-1] == "C=bb"
    assert after("ENV A some words here").env[-1] == "A=some words here"
    assert after('ENV A="x y" B=z\\ w').env[-2:] == ("A=x y", "B=z w")
    assert after("ENV A='$OLD' B=\\$OLD").env[-2:] == ("A=$OLD", "B=$OLD")
    assert after("ENV A=${NONE:-d} B=${OLD:+e}").env[-2:] == ("A=d", "B=e")


def test_the_rest_adds_to_what_is_there() -> None:
    made = after(
        "EXPOSE 80 443/tcp 53/udp 1000-1002",
        "LABEL b=2 'c d'=\"e f\"",
        "VOLUME /v1 /v2",
        'VOLUME ["/v3"]',
        "WORKDIR sub",
        "USER 1000:1000",
        "STOPSIGNAL SIGQUIT",
        "ONBUILD RUN x",
    )
    assert made.exposed_ports == (
        *("1000/tcp", "1001/tcp", "1002/tcp", "443/tcp", "53/udp", "80/tcp"),
    )
    assert dict(made.labels) == {"a": "1", "b": "2", "c d": "e f"}
    assert made.volumes == ("/v1", "/v2", "/v3")
    assert (made.working_directory, made.user, made.stop_signal) == (
        *("/w/sub", "1000:1000", "SIGQUIT"),
    )
    assert made.on_build == ("RUN x",)
    assert after("WORKDIR /x/../y").working_directory == "/y"


def test_health_checks() -> None:
    check = after("HEALTHCHECK --interval=5s --timeout=1m30s --retries=3 CMD curl x").health_check
    assert check is not None
    assert check.test == ("CMD-SHELL", "curl x")
    assert (check.interval, check.timeout, check.retries) == (5 * SECOND, 90 * SECOND, 3)
    listed = after('HEALTHCHECK CMD ["a", "b"]').health_check
    assert listed is not None
    assert listed.test == ("CMD", "a", "b")
    none = after("HEALTHCHECK NONE").health_check
    assert none is not None
    assert none.test == ("NONE",)


def test_lines_are_joined_and_comments_left_out() -> None:
    assert after("# no\nENV A=b \\\n  # nor this\n  C=d\n\nUSER u").env[-2:] == ("A=b", "C=d")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("FROM x", "FROM is not a valid change command"),
        ("RUN x", "RUN is not a valid change command"),
        ("CMD", "CMD requires at least one argument"),
        ("ENV A", "ENV must have two arguments"),
        ("ENV A=b C", "can't find = in"),
        ("ENV =b", "names can not be blank"),
        ("EXPOSE 0", "invalid containerPort"),
        ("EXPOSE 70000", "invalid containerPort"),
        ("EXPOSE 80/icmp", "invalid proto"),
        ("USER a b", "exactly one argument"),
        ("ONBUILD ONBUILD x", "isn't allowed"),
        ("ONBUILD FROM x", "isn't allowed"),
        ("STOPSIGNAL NOSUCH SIGNAL", "invalid signal"),
        ("SHELL /bin/sh", "JSON form"),
        ("HEALTHCHECK --interval=x CMD y", ""),
        ("HEALTHCHECK --nosuch=1 CMD y", ""),
        ("HEALTHCHECK CMD []", "Missing command"),
        ("HEALTHCHECK", "requires at least one argument"),
    ],
)
def test_what_cannot_be_used_is_refused(change: str, words: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        after(change)
    assert words in refused.value.message


@given(st.lists(st.text(max_size=40), max_size=4))
def test_any_text_is_carried_out_or_refused(changes: list[str]) -> None:
    names = ("ENV ", "LABEL ", "CMD ", "EXPOSE ", "HEALTHCHECK ", "VOLUME ")
    for prefix in names:
        try:
            apply_changes(BASE, [prefix + change for change in changes])
        except InvalidArgument:
            continue


def test_a_configuration_that_we_write_is_read_back_the_same() -> None:
    config = ImageConfig(
        platform=Platform("linux", "arm64", "v8"),
        diff_ids=(),
        container="cd" * 32,
        container_config='{"Image": "a", "Tty": false}',
        defaults=ContainerDefaults(
            env=("A=ü",),
            entrypoint=("e",),
            command=("c",),
            user="u",
            working_directory="/w",
            exposed_ports=("80/tcp",),
            labels={"k": "v"},
            stop_signal="SIGQUIT",
            volumes=("/v",),
            health_check=HealthCheck(("CMD", "x"), 1, 2, 3, 4, 5),
            shell=("sh",),
            on_build=("RUN x",),
            args_escaped=True,
        ),
        author="me",
        comment="why",
    )
    body = config_json(config)
    assert parse_config(body) == config
    assert config_json(config) == body
    assert json.loads(body)["config"]["Healthcheck"]["Retries"] == 5
