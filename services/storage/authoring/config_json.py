"""Image configurations and manifests as we write them.

Source: OCI image specification 1.1, "Image Configuration"; the fields that Docker adds to it;
Docker Image Manifest Version 2, Schema 2.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from portlayer.dockerfile.defaults import ContainerDefaults
from services.storage.imagec.config import HistoryStep, ImageConfig
from services.storage.imagec.digest import Digest
from services.storage.imagec.manifest import DOCKER_CONFIG, DOCKER_MANIFEST, Descriptor


def config_json(config: ImageConfig) -> bytes:
    """A configuration in JSON; the same one always gives the same bytes."""
    value: dict[str, Any] = {
        "architecture": config.platform.architecture,
        "os": config.platform.os,
        "config": _defaults(config.defaults),
        "rootfs": {"type": "layers", "diff_ids": list(config.diff_ids)},
        "history": [_step(step) for step in config.history],
    }
    optional = {
        "variant": config.platform.variant,
        "created": _time(config.created),
        "author": config.author,
        "comment": config.comment,
        "docker_version": config.docker_version,
        "container": config.container,
        "container_config": json.loads(config.container_config or "{}"),
    }
    value |= {name: item for name, item in optional.items() if item}
    return _compact(value)


def manifest_json(config: bytes, layers: Iterable[Descriptor]) -> bytes:
    """A schema 2 manifest, which every registry takes."""
    return _compact(
        {
            "schemaVersion": 2,
            "mediaType": DOCKER_MANIFEST,
            "config": {
                "mediaType": DOCKER_CONFIG,
                "size": len(config),
                "digest": Digest.of(config),
            },
            "layers": [
                {"mediaType": layer.media_type, "size": layer.size, "digest": layer.digest}
                for layer in layers
            ],
        }
    )


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()


def _time(moment: datetime | None) -> str:
    if moment is None:
        return ""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _step(step: HistoryStep) -> dict[str, Any]:
    value: dict[str, Any] = {
        "created": _time(step.created),
        "created_by": step.created_by,
        "author": step.author,
        "comment": step.comment,
        "empty_layer": step.empty_layer,
    }
    return {name: item for name, item in value.items() if item}


def _defaults(defaults: ContainerDefaults) -> dict[str, Any]:
    health = defaults.health_check
    value: dict[str, Any] = {
        "User": defaults.user,
        "ExposedPorts": {port: {} for port in defaults.exposed_ports},
        "Env": list(defaults.env),
        "Entrypoint": list(defaults.entrypoint),
        "Cmd": list(defaults.command),
        "Volumes": {path: {} for path in defaults.volumes},
        "WorkingDir": defaults.working_directory,
        "Labels": dict(defaults.labels),
        "StopSignal": defaults.stop_signal,
        "Shell": list(defaults.shell),
        "OnBuild": list(defaults.on_build),
        "ArgsEscaped": defaults.args_escaped,
    }
    if health is not None:
        check: dict[str, Any] = {
            "Test": list(health.test),
            "Interval": health.interval,
            "Timeout": health.timeout,
            "StartPeriod": health.start_period,
            "StartInterval": health.start_interval,
            "Retries": health.retries,
        }
        value["Healthcheck"] = {name: item for name, item in check.items() if item}
    return {name: item for name, item in value.items() if item}
