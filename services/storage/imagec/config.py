"""Image configurations.

Source: OCI image specification 1.1, "Image Configuration"; the fields that Docker adds to it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from portlayer.dockerfile.defaults import ContainerDefaults, HealthCheck
from services.storage.imagec.digest import Digest
from services.storage.imagec.errors import InvalidManifest
from services.storage.imagec.manifest import Platform, parse_json


@dataclass(frozen=True)
class HistoryStep:
    """One step that made an image."""

    created: datetime | None
    created_by: str
    comment: str
    empty_layer: bool
    author: str = ""


@dataclass(frozen=True)
class ImageConfig:
    """A whole configuration."""

    platform: Platform
    diff_ids: tuple[Digest, ...]
    defaults: ContainerDefaults
    created: datetime | None = None
    author: str = ""
    comment: str = ""
    docker_version: str = ""
    container: str = ""
    """The container that it was made of, where Docker's commit or classic builder made it."""

    container_config: str = ""
    """That container's own configuration, in JSON."""

    history: tuple[HistoryStep, ...] = ()


def parse_config(body: bytes) -> ImageConfig:
    """Read a configuration.

    Raises:
        InvalidManifest: it breaks the specification.
    """
    value = parse_json(body, "image configuration")
    rootfs = _Fields(_Fields(value).object("rootfs"))
    if rootfs.text("type") != "layers":
        raise _invalid("rootfs.type")
    fields = _Fields(value)
    return ImageConfig(
        platform=Platform(fields.text("os"), fields.text("architecture"), fields.text("variant")),
        diff_ids=tuple(_diff_id(text) for text in rootfs.texts("diff_ids")),
        defaults=_defaults(_Fields(fields.object("config"))),
        created=fields.time("created"),
        author=fields.text("author"),
        comment=fields.text("comment"),
        docker_version=fields.text("docker_version"),
        container=fields.text("container"),
        container_config=json.dumps(own) if (own := fields.object("container_config")) else "",
        history=tuple(_step(_Fields(entry)) for entry in fields.objects("history")),
    )


class _Fields:
    """Typed access to a JSON object, where null counts as absent, as in Go."""

    def __init__(self, value: dict[str, Any]) -> None:
        self._value = value

    def text(self, name: str) -> str:
        found = self._value.get(name)
        if found is not None and not isinstance(found, str):
            raise _invalid(name)
        return found or ""

    def number(self, name: str) -> int:
        found = self._value.get(name)
        if found is not None and (not isinstance(found, int) or isinstance(found, bool)):
            raise _invalid(name)
        return found or 0

    def flag(self, name: str) -> bool:
        found = self._value.get(name)
        if found is not None and not isinstance(found, bool):
            raise _invalid(name)
        return bool(found)

    def texts(self, name: str) -> tuple[str, ...]:
        found = self._value.get(name)
        if found is None:
            return ()
        if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
            raise _invalid(name)
        return tuple(found)

    def object(self, name: str) -> dict[str, Any]:
        found = self._value.get(name)
        if found is not None and not isinstance(found, dict):
            raise _invalid(name)
        return found or {}

    def objects(self, name: str) -> list[dict[str, Any]]:
        found = self._value.get(name)
        if found is None:
            return []
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            raise _invalid(name)
        return found

    def labels(self, name: str) -> dict[str, str]:
        found = self.object(name)
        if not all(isinstance(item, str) for item in found.values()):
            raise _invalid(name)
        return found

    def time(self, name: str) -> datetime | None:
        text = self.text(name)
        if not text:
            return None
        try:
            parsed = datetime.fromisoformat(text)
        except ValueError as error:
            raise _invalid(name) from error
        if parsed.tzinfo is None:
            raise _invalid(name)
        return parsed


def _invalid(name: str) -> InvalidManifest:
    return InvalidManifest(f"invalid image configuration: {name}")


def _diff_id(text: str) -> Digest:
    try:
        return Digest(text)
    except ValueError as error:
        raise _invalid("diff_ids") from error


def _defaults(fields: _Fields) -> ContainerDefaults:
    health = fields.object("Healthcheck")
    return ContainerDefaults(
        env=fields.texts("Env"),
        entrypoint=fields.texts("Entrypoint"),
        command=fields.texts("Cmd"),
        user=fields.text("User"),
        working_directory=fields.text("WorkingDir"),
        exposed_ports=tuple(sorted(fields.object("ExposedPorts"))),
        labels=fields.labels("Labels"),
        stop_signal=fields.text("StopSignal"),
        volumes=tuple(sorted(fields.object("Volumes"))),
        health_check=_health_check(_Fields(health)) if health else None,
        shell=fields.texts("Shell"),
        on_build=fields.texts("OnBuild"),
        args_escaped=fields.flag("ArgsEscaped"),
    )


def _health_check(fields: _Fields) -> HealthCheck:
    return HealthCheck(
        test=fields.texts("Test"),
        interval=fields.number("Interval"),
        timeout=fields.number("Timeout"),
        start_period=fields.number("StartPeriod"),
        start_interval=fields.number("StartInterval"),
        retries=fields.number("Retries"),
    )


def _step(fields: _Fields) -> HistoryStep:
    return HistoryStep(
        created=fields.time("created"),
        created_by=fields.text("created_by"),
        comment=fields.text("comment"),
        empty_layer=fields.flag("empty_layer"),
        author=fields.text("author"),
    )
