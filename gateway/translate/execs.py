"""Additional processes: what ``docker exec`` asks for, and how it is shown."""

import base64
from collections.abc import Iterable
from typing import Any

from vic.exec.v1.container_pb2 import Container
from vic.interaction.v1.interaction_pb2 import (
    CreateExecRequest,
    ExecStreams,
    InspectExecResponse,
)
from vic.tether.v1.process_pb2 import ProcessSpec, WindowSize
from vic.tether.v1.tether_pb2 import LaunchFailure

from gateway.errors import bad_parameter
from gateway.fields import Fields
from gateway.translate.detach import DetachKeys
from gateway.translate.terminals import read_console_size
from portlayer.errors import Reason, VicError

_CONSOLE_SIZE_SINCE = (1, 42)


def read_exec_request(
    body: object, container: Container, version: tuple[int, int]
) -> CreateExecRequest:
    """Return the process that is asked for: the container's own with what differs.

    Raises 400 for what can't be right, 501 naming an option that isn't implemented.
    """
    fields = Fields(body)
    process = ProcessSpec()
    # Limits, groups and capabilities are those of the container.
    process.CopyFrom(container.spec.process)
    process.ClearField("window")
    process.args[:] = fields.texts("Cmd")
    if not process.args:
        raise bad_parameter("No exec command specified")
    process.tty = fields.flag("Tty")
    process.stdin = fields.flag("AttachStdin")
    process.user = fields.text("User") or process.user
    process.cwd = _directory(fields.text("WorkingDir")) or process.cwd
    process.env[:] = _environment(container, fields.texts("Env"), tty=process.tty)
    if fields.flag("Privileged"):
        process.capabilities.privileged = True
    window = read_console_size(fields)
    if version >= _CONSOLE_SIZE_SINCE and process.tty and window.rows and window.columns:
        process.window.CopyFrom(window)
    streams = ExecStreams(
        stdout=fields.flag("AttachStdout"),
        stderr=fields.flag("AttachStderr"),
        detach_keys=fields.text("DetachKeys"),
    )
    DetachKeys.parse(streams.detach_keys)
    # Detach is said again by the start, which decides; the container is named by the path.
    fields.drop("Detach", "Container")
    fields.finish()
    return CreateExecRequest(container_id=container.id, process=process, streams=streams)


def read_start_request(
    body: object, version: tuple[int, int]
) -> tuple[bool, bool, WindowSize | None]:
    """Return what a start asks for: detached or not, raw or framed, the terminal's size."""
    fields = Fields(body)
    detach, tty = fields.flag("Detach"), fields.flag("Tty")
    window = read_console_size(fields)
    fields.finish()
    sized = version >= _CONSOLE_SIZE_SINCE and tty and window.rows and window.columns
    return detach, tty, window if sized else None


def exec_json(info: InspectExecResponse) -> dict[str, Any]:
    """An additional process as ``GET /exec/{id}/json`` gives it."""
    process, keys = info.process, info.streams.detach_keys
    sequence = DetachKeys.parse(keys).sequence if keys else b""
    return {
        "ID": info.exec_id,
        "Running": info.running,
        "ExitCode": info.exit_code if info.HasField("exit_code") else None,
        "ProcessConfig": {
            "tty": process.tty,
            "entrypoint": process.args[0],
            "arguments": list(process.args[1:]),
            "privileged": process.capabilities.privileged,
            **({"user": process.user} if process.user else {}),
        },
        "OpenStdin": process.stdin,
        "OpenStderr": info.streams.stderr,
        "OpenStdout": info.streams.stdout,
        "CanRemove": info.HasField("exit_code"),
        "ContainerID": info.container_id,
        "DetachKeys": base64.b64encode(sequence).decode(),
        "Pid": info.pid,
    }


def failure_sentence(error: VicError) -> str:
    """Why a process could not be run, as ``docker exec`` prints it."""
    if error.reason is not Reason.LAUNCH_FAILED:
        return error.message
    if error.metadata.get("failure") == LaunchFailure.Name(
        LaunchFailure.LAUNCH_FAILURE_UNKNOWN_USER
    ):
        return error.message
    return (
        "OCI runtime exec failed: exec failed: unable to start container process: "
        f"{error.message}: unknown"
    )


def _directory(path: str) -> str:
    if path and not path.startswith("/"):
        raise bad_parameter(
            f"the working directory '{path}' is invalid, it needs to be an absolute path"
        )
    return path


def _environment(container: Container, own: Iterable[str], *, tty: bool) -> list[str]:
    """The container's variables and what differs; "NAME" without "=" takes one away."""
    host = container.spec.hostname or container.id[:12]
    merged = {"HOSTNAME": f"HOSTNAME={host}"}
    if tty:
        merged["TERM"] = "TERM=xterm"
    for variable in (*container.spec.process.env, *own):
        name, equals, _ = variable.partition("=")
        if not name:
            raise bad_parameter(f"invalid environment variable: {variable}")
        if equals:
            merged[name] = variable
        else:
            merged.pop(name, None)
    return list(merged.values())
