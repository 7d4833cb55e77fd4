"""What a process is asked to be, without protobuf; the agent makes it, the supervisor runs it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class FileRequest:
    """vic.tether.v1.FileTask, whichever ``task`` names."""

    task: str
    path: str = "/"
    no_overwrite_dir_non_dir: bool = False
    owner: str = ""
    export: bool = False
    root_read_only: bool = False
    sync: bool = False
    image_lun: int = 0
    freeze: bool = False

    @property
    def compares(self) -> bool:
        """Whether it looks at the bare disk and its image's, rather than into the container."""
        return self.task in ("changes", "layer")


@dataclass(frozen=True)
class ProcessRequest:
    """vic.tether.v1.ProcessSpec; fields without a comment are as there."""

    args: list[str]
    env: list[str] = field(default_factory=list)
    cwd: str = ""
    user: str = ""
    additional_groups: list[str] = field(default_factory=list)
    tty: bool = False
    rows: int = 0
    columns: int = 0
    stdin: bool = False
    capabilities_add: list[str] = field(default_factory=list)
    capabilities_drop: list[str] = field(default_factory=list)
    privileged: bool = False
    no_new_privileges: bool = False
    # Name, soft, hard.
    rlimits: list[tuple[str, int, int]] = field(default_factory=list)
    oom_score_adj: int = 0
    seccomp_filter: bytes = b""
    files: FileRequest | None = None


def process_of(message: dict[str, Any]) -> ProcessRequest:
    """The request whose fields a message has."""
    files = message.get("files")
    return ProcessRequest(**{**message, "files": FileRequest(**files) if files else None})


def process_fields(request: ProcessRequest) -> dict[str, Any]:
    """The fields of a request, from which ``process_of`` makes it again.

    ``dataclasses.asdict`` copies them one by one, down to each string: an emulated guest spends
    milliseconds on that at every launch.
    """
    return {**vars(request), "files": vars(request.files) if request.files else None}


@dataclass(frozen=True)
class SandboxRequest:
    """vic.tether.v1.SandboxOptions; None for paths means Docker's defaults."""

    init: bool = False
    sysctls: dict[str, str] = field(default_factory=dict)
    # Path in the VM, path in the container, permissions.
    devices: list[tuple[str, str, str]] = field(default_factory=list)
    device_rules: list[str] = field(default_factory=list)
    masked_paths: list[str] | None = None
    readonly_paths: list[str] | None = None
    no_shm: bool = False
