"""A process that compiles layers, one after another: `python -m services.storage.worker`.

It reads one JSON object a line from standard input and answers the same way on standard output.
A job is {"layer": …}, {"base": …}, {"take": …} or {"unpack": …}. While a layer's blob is still
arriving, {"available": N} lines follow, then {"complete": true}. Answers are {"opened": true} once
a named pipe is, {"inflated": N, "consumed": N} as it goes, and {"done": …} or
{"error": …, "message": …} at the end. After an error the process ends: the pool starts another.

Untrusted bytes are inflated and read here and nowhere else in the storage service, so that a tar
that exhausts memory or time costs a process that can be killed.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, BinaryIO

from services.storage.compiler import CompilerError, DiskCorrupt, Limits, compile_layer, create_base
from services.storage.faults import FAILED, FULL
from services.storage.imagec.errors import InvalidLayer
from services.storage.imagec.inflate import CHUNK, InflateLimits, Inflater, ReadAhead
from services.storage.worker_archives import take, unpack

_PR_SET_PDEATHSIG = 1
_REPORT_STEP = 8 << 20

_TURN_SECONDS = 0.0001
"""For which the compiler keeps the interpreter from the thread that inflates, once that has
something to do. With CPython's 5 ms each MiB waits that long, and a core with it: a layer took
1.4 times as long."""


class WrongDiffId(Exception):
    """The layer's tar isn't the one that the configuration names."""


class _GrowingBlob:
    """A blob's file that is read no further than the pool says it reaches."""

    def __init__(self, job: dict[str, Any], control: BinaryIO) -> None:
        try:
            self._descriptor = os.open(job["blob"], os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:  # it has got its name in the store since
            self._descriptor = os.open(job["blob_at_last"], os.O_RDONLY | os.O_CLOEXEC)
        self._available: int = job["available"]
        self._complete: bool = job["complete"]
        self._control = control
        self.position = 0

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes; waits for them; empty at the end of a complete blob."""
        while self.position >= self._available and not self._complete:
            self._listen()
        left = self._available - self.position
        data = os.read(self._descriptor, min(left, CHUNK if size < 0 else size))
        self.position += len(data)
        return data

    def _listen(self) -> None:
        line = self._control.readline()
        if not line:
            os._exit(1)  # the service is gone, and with it whoever wants the layer
        message = json.loads(line)
        self._available = message.get("available", self._available)
        self._complete = message.get("complete", False)

    def settle(self) -> None:
        """Wait until the whole blob is there and verified."""
        while not self._complete:
            self._listen()
        os.close(self._descriptor)


class _Reporting:
    """The tar for the compiler; tells how far it has come."""

    def __init__(self, tar: ReadAhead, blob: _GrowingBlob) -> None:
        self._tar = tar
        self._blob = blob
        self.size = 0
        self._told = 0

    def read(self, size: int, /) -> bytes:
        data = self._tar.read(size)
        self.size += len(data)
        if self.size - self._told >= _REPORT_STEP:
            self._told = self.size
            answer({"inflated": self.size, "consumed": self._blob.position})
        return data


def answer(message: dict[str, Any]) -> None:
    """Send one line to the pool."""
    sys.stdout.buffer.write(json.dumps(message).encode() + b"\n")
    sys.stdout.buffer.flush()


def compile_job(job: dict[str, Any], control: BinaryIO) -> dict[str, Any]:
    """Compile one layer and check its diff ID.

    Raises what the compiler and the inflater raise, and WrongDiffId.
    """
    blob = _GrowingBlob(job, control)
    limits = Limits(bytes=job["max_bytes"], entries=job["max_entries"])
    inflater = Inflater(blob, InflateLimits(bytes=job["max_bytes"], ratio=job["max_ratio"]))
    out = Path(job["out"])
    with ReadAhead(inflater) as ahead:
        stream = _Reporting(ahead, blob)
        info = compile_layer(
            stream, Path(job["parent"]), out, chain_id=job["chain_id"], limits=limits
        )
        diff_id = ahead.finish()
    blob.settle()
    if diff_id != job["diff_id"]:
        raise WrongDiffId(f"layer's diff ID is {diff_id}, the configuration says {job['diff_id']}")
    has_disk = info.entries > 0
    if not has_disk:
        out.unlink(missing_ok=True)
    return {"size": inflater.size, "stored": info.changed_bytes, "has_disk": has_disk}


def run_job(message: dict[str, Any], control: BinaryIO) -> bool:
    """Do one job and answer; whether it went well."""
    try:
        if "base" in message:
            create_base(Path(message["base"]["out"]), message["base"]["size"])
            answer({"done": {}})
        elif "take" in message:
            answer({"done": take(message["take"], answer)})
        elif "unpack" in message:
            answer({"done": unpack(message["unpack"], answer)})
        else:
            answer({"done": compile_job(message["layer"], control)})
    except DiskCorrupt as error:
        answer({"error": "internal", "message": str(error)})
    except (CompilerError, InvalidLayer) as error:
        answer({"error": "layer", "message": str(error)})
    except WrongDiffId as error:
        answer({"error": "digest", "message": str(error)})
    except OSError as error:
        kinds = {**dict.fromkeys(FULL, "full"), **dict.fromkeys(FAILED, "failed")}
        kind = kinds.get(error.errno or 0, "internal")
        where = f"write {error.filename}: " if error.filename else ""
        answer({"error": kind, "message": where + (error.strerror or str(error)).lower()})
    else:
        return True
    return False


def main() -> int:
    """Take jobs until standard input ends or one fails."""
    # Whatever ends the service, even SIGKILL, ends its workers.
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's ^C is for the service to handle
    sys.setswitchinterval(_TURN_SECONDS)
    gc.freeze()  # modules stay: to look through them again takes 18 ms a layer
    control = sys.stdin.buffer
    answer({"ready": True})
    for line in control:
        if not run_job(json.loads(line), control):
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
