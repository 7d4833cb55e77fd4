"""What a build request asks for besides its Dockerfile: everything is honoured, or refused by name.

Source: docker's API, "ImageBuild".
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from vic.storage.v1.image_pb2 import RegistryCredentials

from gateway.build.addresses import is_git, is_url
from gateway.call import Call
from gateway.decoding import decode_json
from gateway.errors import bad_parameter, not_implemented, not_possible
from gateway.translate.create import read_create_request
from gateway.translate.credentials import decoded_header, from_json
from gateway.translate.references import tag_target

_KNOWN = frozenset(
    {
        *("t", "dockerfile", "q", "nocache", "pull", "rm", "forcerm", "buildargs", "labels"),
        *("target", "networkmode", "platform", "memory", "memswap", "cpushares", "cpusetcpus"),
        *("cpusetmems", "cpuperiod", "cpuquota", "shmsize", "ulimits", "extrahosts", "cachefrom"),
        *("remote", "squash", "outputs", "version", "session", "buildid", "securityopt"),
        *("cgroupparent", "isolation"),
    }
)
_NUMBERS = {
    "memory": "Memory",
    "memswap": "MemorySwap",
    "cpushares": "CpuShares",
    "cpuperiod": "CpuPeriod",
    "cpuquota": "CpuQuota",
    "shmsize": "ShmSize",
}
_TEXTS = {"cpusetcpus": "CpusetCpus", "cpusetmems": "CpusetMems", "cgroupparent": "CgroupParent"}
_DOCKER_HUB = ("https://index.docker.io/v1/", "index.docker.io", "docker.io")
_NAME_AND_TAG = re.compile(r"(?P<name>.+?)(?::(?P<tag>[^:/]+))?")


@dataclass
class Options:
    """What is asked for."""

    tags: list[str] = field(default_factory=list)
    dockerfile: str = "Dockerfile"
    quiet: bool = False
    cached: bool = True
    pull: bool = False
    remove: bool = True
    force_remove: bool = False
    arguments: dict[str, str | None] = field(default_factory=dict)
    """Of `--build-arg`; None for one that has no value."""

    labels: dict[str, str] = field(default_factory=dict)
    target: str = ""
    platform: str = ""
    cache_from: list[str] = field(default_factory=list)
    host: dict[str, Any] = field(default_factory=dict)
    """HostConfig of the containers that RUN makes."""

    registries: dict[str, RegistryCredentials] = field(default_factory=dict)
    remote: str = ""
    """URL of the context, or of a Dockerfile without one; empty where the request has it."""

    version: tuple[int, int] = (0, 0)

    def credentials(self, reference: str) -> RegistryCredentials:
        """For the registry that an image comes from."""
        first, slash, _ = reference.partition("/")
        named = slash and ("." in first or ":" in first or first == "localhost")
        names = (first, f"https://{first}", f"http://{first}") if named else _DOCKER_HUB
        if first in _DOCKER_HUB:
            names = _DOCKER_HUB
        given = (self.registries[name] for name in names if name in self.registries)
        return next(given, RegistryCredentials())


def read_options(call: Call) -> Options:
    """Read a request's query and headers. Raises 400 for nonsense, 501 naming what isn't there."""
    call.only(_KNOWN, "build option")
    _refuse(call)
    options = Options(
        tags=_tags(call.texts("t")),
        dockerfile=call.text("dockerfile") or "Dockerfile",
        quiet=call.flag("q"),
        cached=not call.flag("nocache"),
        pull=call.flag("pull"),
        remove=call.flag("forcerm") or not call.text("rm") or call.flag("rm"),
        force_remove=call.flag("forcerm"),
        arguments=_json(call, "buildargs", dict, _texts_or_nothing) or {},
        labels=_json(call, "labels", dict, _texts) or {},
        target=call.text("target"),
        platform=call.text("platform"),
        cache_from=_json(call, "cachefrom", list, _texts) or [],
        host=_host_config(call),
        registries=_registries(call.header("x-registry-config")),
        remote=_remote(call.text("remote")),
        version=call.version,
    )
    # What is wrong with the limits is told before anything is done.
    read_create_request(
        {"Image": "none", "HostConfig": dict(options.host)}, "", "", options.version
    )
    return options


def _refuse(call: Call) -> None:
    if call.text("version") not in ("", "1"):
        raise not_possible("BuildKit (version=2)", "set DOCKER_BUILDKIT=0 for the classic builder")
    if call.text("outputs") not in ("", "null", "[]"):
        raise not_possible("Exporting a build (outputs)", "it needs BuildKit")
    if call.flag("squash"):
        raise not_implemented("Squashing a build (squash)")
    if call.text("session") or call.text("buildid"):
        raise not_possible("A build session (session, buildid)", "it needs BuildKit")
    if call.text("isolation") not in ("", "default"):
        raise bad_parameter(f"Unsupported isolation: {json.dumps(call.text('isolation')[:100])}")


def _remote(text: str) -> str:
    if not text or (is_url(text) and not is_git(text)):
        return text
    if text == "client-session":
        raise not_possible("A build context by session (remote)", "it needs BuildKit")
    if is_git(text) or text.startswith("github.com/"):
        raise not_possible(
            f"A Git repository as build context (remote={text[:200]!r})",
            "this endpoint runs no git; clone it and send the directory, as the docker CLI does by "
            "itself",
        )
    raise bad_parameter(f"remoteURL ({text[:200]}) could not be recognized as URL")


def _tags(given: list[str]) -> list[str]:
    tags: list[str] = []
    for name in given:
        if not name:
            continue
        if "@" in name:
            raise bad_parameter("build tag cannot contain a digest")
        found = _NAME_AND_TAG.fullmatch(name)
        if found is None:
            raise bad_parameter("invalid reference format")
        target = tag_target(found["name"], found["tag"] or "latest")
        if target not in tags:
            tags.append(target)
    return tags


def _host_config(call: Call) -> dict[str, Any]:
    host: dict[str, Any] = {
        "NetworkMode": call.text("networkmode") or "default",
        # As with dockerd: what a step says goes to the client and nowhere else.
        "LogConfig": {"Type": "none"},
    }
    for name, key in _NUMBERS.items():
        if number := call.optional_number(name):
            host[key] = number
    for name, key in _TEXTS.items():
        if text := call.text(name):
            host[key] = text
    if ulimits := _json(call, "ulimits", list, _anything):
        host["Ulimits"] = ulimits
    if hosts := call.texts("extrahosts"):
        host["ExtraHosts"] = [name for text in hosts for name in text.split(",") if name]
    if options := _json(call, "securityopt", list, _texts):
        host["SecurityOpt"] = options
    return host


def _json(call: Call, name: str, kind: type, check: Callable[[Any], bool]) -> Any:
    """A parameter that is JSON; None where it is absent or says nothing."""
    text = call.text(name)
    if not text:
        return None
    try:
        value = decode_json(text)
    except ValueError:
        value = kind  # which is no value of that kind
    if value is None:
        return None
    if not isinstance(value, kind) or not check(value):
        raise bad_parameter(f"invalid value for {name!r}: {text[:100]}")
    return value


def _texts(value: Any) -> bool:
    items = value.values() if isinstance(value, dict) else value
    return all(isinstance(item, str) for item in items)


def _texts_or_nothing(value: Any) -> bool:
    return all(isinstance(item, str | None) for item in value.values())


def _anything(value: Any) -> bool:
    return True


def _registries(header: str) -> dict[str, RegistryCredentials]:
    """Read ``X-Registry-Config``. What can't be read counts as none given, as with dockerd."""
    value = decoded_header(header)
    return {name: from_json(item) for name, item in value.items() if isinstance(item, dict)}
