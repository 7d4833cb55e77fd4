"""Images in Docker's shapes."""

import fnmatch
import json
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from vic.storage.v1.image_pb2 import (
    HistoryEntry,
    Image,
    ImageConfig,
    ImageSummary,
    RemovedImage,
)

from gateway import API_VERSION
from gateway.errors import bad_parameter, not_found
from gateway.translate.containers import STORAGE_DRIVER
from gateway.translate.filters import Filters
from gateway.translate.references import with_default_tag
from gateway.translate.times import nanoseconds, rfc3339
from gateway.translate.until import until_of

# Go's path.Match: a set is closed and not empty, an escape escapes something. A "^" that begins a
# set is never taken for a member of it, or each set would double the ways to read a pattern.
_PATTERN = re.compile(
    r"(?:[^\\\[]|\\.|\[\^?+(?:(?:[^\\\]-]|\\.)(?:-(?:[^\\\]-]|\\.))?)+\])*", re.DOTALL
)
LIST_FILTERS = frozenset({"before", "dangling", "label", "reference", "since", "until"})

# Config fields that belong to containers; images stopped showing them with 1.50.
_CONTAINER_FIELDS: dict[str, Any] = {
    "Hostname": "",
    "Domainname": "",
    "AttachStdin": False,
    "AttachStdout": False,
    "AttachStderr": False,
    "Tty": False,
    "OpenStdin": False,
    "StdinOnce": False,
    "Image": "",
}


@dataclass(frozen=True)
class Selected:
    """An image of a list, with the names of it that the list shows."""

    summary: ImageSummary
    tags: Sequence[str]
    digests: Sequence[str]


def summary_json(
    selected: Selected, version: tuple[int, int], *, shared_size: bool, containers: bool = False
) -> dict[str, Any]:
    """An image as an entry of ``GET /images/json``, or with ``containers`` of ``/system/df``."""
    summary, tags, digests = selected.summary, list(selected.tags), list(selected.digests)
    image = summary.image
    if version < (1, 43) and not tags:
        tags, digests = ["<none>:<none>"], digests or ["<none>@<none>"]
    entry = {
        "Containers": summary.containers if containers else -1,
        "Created": image.created_at.seconds,
        "Id": image.id,
        "Labels": dict(image.config.labels) or None,
        "ParentId": image.parent_id,
        "RepoDigests": digests,
        "RepoTags": tags,
        "SharedSize": summary.shared_bytes if shared_size else -1,
        "Size": image.size_bytes,
    }
    if version < (1, 44):
        entry["VirtualSize"] = image.size_bytes
    return entry


def inspect_json(image: Image, version: tuple[int, int]) -> dict[str, Any]:
    """An image as ``GET /images/{name}/json`` gives it."""
    value: dict[str, Any] = {
        "Id": image.id,
        "RepoTags": list(image.repository_tags),
        "RepoDigests": list(image.repository_digests),
        "Parent": image.parent_id,
        "Comment": image.comment,
        "Created": rfc3339(image.created_at),
        "DockerVersion": image.docker_version,
        "Author": image.author,
        "Config": config_json(image.config, version),
        "Architecture": image.architecture,
        "Os": image.os,
        "Size": image.size_bytes,
        "GraphDriver": {"Data": {"ChainID": image.chain_id}, "Name": STORAGE_DRIVER},
        "RootFS": {"Type": "layers", "Layers": list(image.diff_ids)},
        "Metadata": {"LastTagTime": rfc3339(image.last_tagged_at)},
    }
    if image.variant:
        value["Variant"] = image.variant
    if version < (1, 44):
        value["VirtualSize"] = image.size_bytes
    if version < (1, 45):
        own = json.loads(image.container_config or "{}")
        value |= {
            "Container": image.container_id,
            "ContainerConfig": {**_CONTAINER_FIELDS, "Cmd": None, **own},
        }
    return value


def history_json(entries: Iterable[HistoryEntry]) -> list[dict[str, Any]]:
    """The steps that made an image, newest first."""
    return [
        {
            "Id": entry.image_id,
            "Created": entry.created_at.seconds,
            "CreatedBy": entry.created_by,
            "Tags": list(entry.repository_tags) or None,
            "Size": entry.size_bytes,
            "Comment": entry.comment,
        }
        for entry in entries
    ]


def removed_json(removed: Iterable[RemovedImage]) -> list[dict[str, str]]:
    """What a removal did."""
    return [
        {"Untagged": item.untagged}
        if item.WhichOneof("kind") == "untagged"
        else {"Deleted": item.deleted}
        for item in removed
    ]


def select(
    summaries: Iterable[ImageSummary], filters: Filters, *, everything: bool = True
) -> list[Selected]:
    """The images that fit, newest first; of their names those that the reference filter takes.

    Without `everything` those are left out that have no name and that others were made of.
    """
    summaries = list(summaries)
    parents = {summary.image.parent_id for summary in summaries}
    ordered = sorted(summaries, key=lambda s: nanoseconds(s.image.created_at), reverse=True)
    newest = min((_moment(ordered, value) for value in filters.get("before")), default=None)
    oldest = max((_moment(ordered, value) for value in filters.get("since")), default=None)
    for pattern in filters.get("reference"):
        if not _PATTERN.fullmatch(pattern):
            raise bad_parameter("syntax error in pattern")
    until = until_of(filters)
    if until is not None:
        newest = min(nanoseconds(until), newest if newest is not None else 2**63)
    chosen = []
    for summary in ordered:
        image = summary.image
        created = nanoseconds(image.created_at)
        selected = _named(summary, filters.get("reference"))
        if (
            (newest is None or created < newest)
            and (oldest is None or created > oldest)
            and _dangling_fits(selected, filters, is_parent=image.id in parents)
            and (everything or selected.tags or selected.digests or image.id not in parents)
            and filters.labels(image.config.labels)
            and (selected.tags or selected.digests or "reference" not in filters)
        ):
            chosen.append(selected)
    return chosen


def _dangling_fits(selected: Selected, filters: Filters, *, is_parent: bool) -> bool:
    if "dangling" not in filters:
        return True
    if filters.flag("dangling"):
        return not selected.tags and not is_parent
    return bool(selected.tags or selected.digests)


def is_named(image: Image, reference: str) -> bool:
    """Whether a reference as people write it (name, tag, digest, ID or its start) is this image."""
    digits = reference.removeprefix("sha256:")
    return (
        reference in image.repository_tags
        or f"{reference}:latest" in image.repository_tags
        or reference in image.repository_digests
        or (len(digits) > 3 and image.id.removeprefix("sha256:").startswith(digits))
    )


def _moment(ordered: Iterable[ImageSummary], reference: str) -> int:
    for summary in ordered:
        if is_named(summary.image, reference):
            return nanoseconds(summary.image.created_at)
    raise not_found(f"No such image: {with_default_tag(reference)}")


def _named(summary: ImageSummary, patterns: Collection[str]) -> Selected:
    tags, digests = summary.image.repository_tags, summary.image.repository_digests
    if not patterns:
        return Selected(summary, tags, digests)
    return Selected(
        summary,
        [tag for tag in tags if _reference_fits(tag, tag.rpartition(":")[0], patterns)],
        [
            digest
            for digest in digests
            if _reference_fits(digest, digest.partition("@")[0], patterns)
        ],
    )


def _reference_fits(reference: str, name: str, patterns: Collection[str]) -> bool:
    return any(_glob(text, pattern) for text in (reference, name) for pattern in patterns)


def _glob(name: str, pattern: str) -> bool:
    """Go's path.Match: a star stops at a slash, a set is negated by ^."""
    parts, patterns = name.split("/"), pattern.replace("[^", "[!").split("/")
    return len(parts) == len(patterns) and all(
        fnmatch.fnmatchcase(part, wanted) for part, wanted in zip(parts, patterns, strict=True)
    )


def config_json(config: ImageConfig, version: tuple[int, int] = API_VERSION) -> dict[str, Any]:
    """What an image says of its containers, in Docker's Config."""
    value: dict[str, Any] = {} if version >= (1, 50) else dict(_CONTAINER_FIELDS)
    value |= {
        "User": config.user,
        "ExposedPorts": {port: {} for port in config.exposed_ports} or None,
        "Env": list(config.env),
        "Cmd": list(config.command) or None,
        "Volumes": {path: {} for path in config.volumes} or None,
        "WorkingDir": config.working_directory,
        "Entrypoint": list(config.entrypoint) or None,
        "OnBuild": list(config.on_build) or None,
        "Labels": dict(config.labels) or None,
    }
    if config.stop_signal:
        value["StopSignal"] = config.stop_signal
    if config.shell:
        value["Shell"] = list(config.shell)
    if config.args_escaped:
        value["ArgsEscaped"] = True
    if config.HasField("health_check") and config.health_check.test:
        check = config.health_check
        value["Healthcheck"] = {
            "Test": list(check.test),
            "Interval": check.interval.ToNanoseconds(),
            "Timeout": check.timeout.ToNanoseconds(),
            "StartPeriod": check.start_period.ToNanoseconds(),
            "StartInterval": check.start_interval.ToNanoseconds(),
            "Retries": check.retries,
        }
    if value["ExposedPorts"] is None:
        del value["ExposedPorts"]
    return value
