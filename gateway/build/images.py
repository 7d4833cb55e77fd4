"""Images as a build sees them: those it stands on, those it makes, and those it made before."""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path

from vic.storage.v1.image_pb2 import (
    CommitStart,
    Image,
    ImageServiceGetRequest,
    ImageServiceListRequest,
    PullRequest,
    ReadTreeRequest,
    ReadTreeResponse,
)

from gateway.build.copying import Place
from gateway.build.options import Options
from gateway.build.output import Output
from gateway.build.owners import MAX_DATABASE
from gateway.build.spooling import spooled
from gateway.build.trees import Tree
from gateway.commits import commit, commit_container
from gateway.facets import Facets, read
from gateway.translate.images import config_json
from gateway.translate.progress import progress_line, result_lines
from gateway.translate.references import with_default_tag
from portlayer.dockerfile.defaults import ContainerDefaults, to_message
from portlayer.errors import NotFound, Reason, VicError


@dataclass(frozen=True)
class Step:
    """What is recorded of a step, and what its image says of containers."""

    parent: str
    """The image it stands on; empty for none."""

    command: tuple[str, ...]
    """What made it, as `docker history` shows it."""

    defaults: ContainerDefaults
    author: str = ""

    @property
    def recorded(self) -> str:
        """The configuration of a container that would have made it: how the cache knows it."""
        config = config_json(to_message(replace(self.defaults, command=self.command)))
        return json.dumps({**config, "Image": self.parent}, sort_keys=True)


class BuildImages:
    """The image store, as one build uses it."""

    def __init__(
        self, facets: Facets, options: Options, output: Output, spool: Path | None
    ) -> None:
        self._facets = facets
        self._options = options
        self._output = output
        self._spool = spool
        self._made: dict[str, list[Image]] | None = None

    async def get(self, reference: str) -> Image:
        """An image that is there. Raises IMAGE_NOT_FOUND."""
        return (await self._facets.images.Get(ImageServiceGetRequest(reference=reference))).image

    async def wanted(self, reference: str, platform: str) -> Image:
        """An image by name; it is pulled where it isn't there, or always where that is asked."""
        platform = platform or self._options.platform
        if not self._options.pull:
            try:
                image = await self.get(reference)
            except NotFound as error:
                if error.reason is not Reason.IMAGE_NOT_FOUND:
                    raise
            else:
                if _is_for(image, platform):
                    return image
        return await self._pulled(reference, platform)

    async def _pulled(self, reference: str, platform: str) -> Image:
        name = with_default_tag(reference)
        request = PullRequest(
            reference=name, platform=platform, credentials=self._options.credentials(name)
        )
        image_id = name
        async with aclosing(read(self._facets.images.Pull(request))) as messages:
            async for message in messages:
                if message.HasField("result"):
                    image_id = message.result.image_id
                    for line in result_lines(message.result):
                        await self._output.line(line)
                else:
                    await self._output.line(progress_line(message.progress))
        return await self.get(image_id)

    async def cached(self, step: Step) -> Image | None:
        """The image that this step made before, if there is one.

        Of a first step without an image below there is none: an image that was pulled has no parent
        either, and may claim in its configuration to have been made so (CVE-2024-24557).
        """
        if not step.parent:
            return None
        if self._made is None:
            self._made = await self._all_made()
        wanted = json.loads(step.recorded)
        for image in self._made.get(step.parent, ()):
            if image.container_config and json.loads(image.container_config) == wanted:
                return image
        return None

    async def _all_made(self) -> dict[str, list[Image]]:
        """Images that were made here, by what they were made of, newest first."""
        listed = await self._facets.images.List(ImageServiceListRequest())
        images = [summary.image for summary in listed.images]
        if self._options.cache_from:
            allowed = await self._ancestors({image.id: image for image in images})
            images = [image for image in images if image.id in allowed]
        made: dict[str, list[Image]] = {}
        for image in images:
            made.setdefault(image.parent_id, []).append(image)
        return made

    async def _ancestors(self, images: dict[str, Image]) -> set[str]:
        """The images that the cache may be taken from, with those that they were made of."""
        allowed: set[str] = set()
        for name in self._options.cache_from:
            try:
                image: Image | None = await self.get(name)
            except VicError:
                continue  # one that isn't there has nothing to give, as with dockerd
            while image is not None and image.id not in allowed:
                allowed.add(image.id)
                image = images.get(image.parent_id)
        return allowed

    async def make(self, step: Step, layer: AsyncGenerator[bytes, None]) -> str:
        """Make a step's image of a layer; return its ID."""
        image_id = await commit(self._facets, self._start(step), layer)
        await self._remember(step, image_id)
        return image_id

    async def make_of_container(self, step: Step, container_id: str) -> str:
        """Make a step's image of what a container has changed; return its ID."""
        start = self._start(step)
        start.container_id = container_id
        image_id = await commit_container(self._facets, start, freeze=False)
        await self._remember(step, image_id)
        return image_id

    def _start(self, step: Step) -> CommitStart:
        return CommitStart(
            parent=step.parent,
            author=step.author,
            config=to_message(step.defaults),
            created_by=" ".join(step.command),
            container_config=step.recorded,
        )

    async def _remember(self, step: Step, image_id: str) -> None:
        if self._made is not None and not self._options.cache_from:
            self._made.setdefault(step.parent, []).insert(0, await self.get(image_id))

    async def place(self, image_id: str, path: str) -> Place:
        """Where a path leads in an image; without one, in an empty root file system."""
        if not image_id:
            clean = path.rstrip("/") or "/"
            parts = [part for part in clean.split("/") if part]
            return Place(clean, len(parts), 0) if parts else Place("/", 0, 0o40755)
        request = ReadTreeRequest(reference=image_id, path=path, stat_only=True)
        async with aclosing(read(self._facets.images.ReadTree(request))) as messages:
            return _place(await anext(messages, None))

    async def tree(self, image_id: str, path: str, what: str) -> Tree | None:
        """What is at a path of an image, to copy from; None where nothing is. To be closed."""
        request = ReadTreeRequest(reference=image_id, path=path)
        async with aclosing(read(self._facets.images.ReadTree(request))) as messages:
            if not _place(await anext(messages, None)).mode:
                return None

            async def pieces() -> AsyncGenerator[bytes, None]:
                async for message in messages:
                    yield message.data

            return await spooled(pieces(), self._spool, what)

    async def small_file(self, image_id: str, path: str) -> bytes:
        """A file of an image; empty where there is none."""
        if not image_id:
            return b""
        tree = await self.tree(image_id, path, f"the image's {path}")
        if tree is None:
            return b""
        try:
            files = [entry for entry in tree.entries.values() if entry.is_file]
            return tree.read(files[0], MAX_DATABASE) if len(files) == 1 else b""
        finally:
            tree.close()


def _place(first: ReadTreeResponse | None) -> Place:
    where = first.path if first is not None else ReadTreeResponse().path
    return Place(where.path, where.missing, where.mode)


def _is_for(image: Image, platform: str) -> bool:
    """Whether an image is for a platform as users write it, as far as that says."""
    if not platform:
        return True
    parts = platform.lower().split("/")
    found = [image.os, image.architecture, image.variant]
    return parts == found[: len(parts)] or (len(parts) == 1 and parts[0] in found[:2])
