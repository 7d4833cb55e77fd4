"""RUN: a container VM of the image so far, in which a command changes files."""

import asyncio
import codecs
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, suppress
from typing import Any

from vic.exec.v1.exec_pb2 import (
    CreateRequest,
    RemoveRequest,
    StartRequest,
    WaitCondition,
)
from vic.interaction.v1.interaction_pb2 import AttachRequest, AttachStart
from vic.tether.v1.process_pb2 import StdStream

from gateway.build.images import BuildImages, Step
from gateway.build.options import Options
from gateway.build.output import Output, StepFailed
from gateway.facets import Facets, read
from gateway.routes.containers import (
    START_SECONDS,
    STOP_SLACK_SECONDS,
    new_container_id,
    request_id,
)
from gateway.routes.waiting import Waiting
from gateway.translate.create import read_create_request
from portlayer.dockerfile.defaults import ContainerDefaults
from portlayer.errors import Internal, VicError
from portlayer.threads import uncancelled

# How dockerd's classic builder tells what a command writes to its standard error.
_RED = "\x1b[91m{}\x1b[0m"


class Runner:
    """Runs a build's commands."""

    def __init__(
        self, facets: Facets, options: Options, output: Output, images: BuildImages
    ) -> None:
        self._facets = facets
        self._options = options
        self._output = output
        self._images = images

    async def run(
        self,
        step: Step,
        command: Sequence[str],
        environment: Sequence[str],
        platform: str,
    ) -> str:
        """Run a command in a container, and make the step's image of what it has changed.

        Of the container nothing is left, unless the client wants to keep it (`--rm=false`, or after
        a failure without `--force-rm`).

        Raises:
            StepFailed: the command ended with another code than 0.
        """
        container_id = new_container_id()
        keep = False
        body = _body(step.parent, step.defaults, command, environment, self._options.host)
        spec = read_create_request(body, "", platform, self._options.version)
        try:
            create = CreateRequest(container_id=container_id, spec=spec)
            # exec finishes what it has begun, whoever goes away: removed is what is there then.
            await uncancelled(asyncio.ensure_future(self._facets.exec.Create(create)))
            await self._output.text(f" ---> Running in {container_id[:12]}\n")
            try:
                await self._run(container_id, " ".join(command))
            except StepFailed:
                keep = not self._options.force_remove
                raise
            image_id = await self._images.make_of_container(step, container_id)
            keep = not self._options.remove
        finally:
            if not keep:
                await self._remove(container_id)
        if not keep:
            await self._output.text(f" ---> Removed intermediate container {container_id[:12]}\n")
        return image_id

    async def _run(self, container_id: str, command: str) -> None:
        start = AttachStart(container_id=container_id, stdout=True, stderr=True, stream=True)
        answers = read(self._facets.interaction.Attach(_started(start)))
        async with aclosing(answers):
            first = await anext(answers, None)
            if first is None or not first.HasField("ready"):
                raise Internal("attach began without its first message")
            waiting = Waiting(self._facets, container_id, WaitCondition.WAIT_CONDITION_NEXT_EXIT)
            await waiting.begin()
            await self._facets.exec.Start(
                StartRequest(reference=container_id, request_id=request_id()),
                timeout=START_SECONDS,
            )
            decoders: dict[int, codecs.IncrementalDecoder] = {}
            async for answer in answers:
                if answer.HasField("output"):
                    decoder = decoders.setdefault(
                        answer.output.stream, codecs.getincrementaldecoder("utf-8")("replace")
                    )
                    if text := decoder.decode(answer.output.data):
                        red = answer.output.stream == StdStream.STD_STREAM_STDERR
                        await self._output.text(_RED.format(text) if red else text)
            result = await waiting.result()
        if result.exit_code:
            raise StepFailed(command, result.exit_code)

    async def _remove(self, container_id: str) -> None:
        # Also where its creation failed half-way, or was broken off before its answer came.
        request = RemoveRequest(
            reference=container_id, request_id=request_id(), force=True, remove_volumes=True
        )
        with suppress(VicError):
            await self._facets.exec.Remove(request, timeout=STOP_SLACK_SECONDS)


async def _started(start: AttachStart) -> AsyncIterator[AttachRequest]:
    yield AttachRequest(start=start)


def _body(
    image_id: str,
    defaults: ContainerDefaults,
    command: Sequence[str],
    environment: Sequence[str],
    host: dict[str, Any],
) -> dict[str, Any]:
    """A create request's body: the image's own program and its checks are left out."""
    return {
        "Image": image_id,
        "Cmd": list(command),
        "Entrypoint": [""],
        "Env": list(environment),
        "User": defaults.user,
        "WorkingDir": defaults.working_directory,
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": json.loads(json.dumps(host)),
    }
