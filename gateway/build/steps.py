"""One stage's instructions, carried out one after another; each makes an image."""

import posixpath
import stat
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from pathlib import Path

from gateway.build.addresses import is_url
from gateway.build.arguments import Arguments
from gateway.build.copying import (
    END,
    Copy,
    Owner,
    Source,
    check_elsewhere,
    destination_of,
    directories,
    failed,
    found_sources,
    layer_of,
    of_archive,
)
from gateway.build.images import BuildImages, Step
from gateway.build.lexing import Instruction
from gateway.build.matching import has_wildcards
from gateway.build.output import Output
from gateway.build.owners import owner_of
from gateway.build.running import Runner
from gateway.build.spooling import archive_in
from gateway.build.stages import arguments_of, flag_of, told_of
from gateway.build.trees import Tree
from gateway.build.web import Web
from gateway.errors import ApiError, bad_parameter
from portlayer.dockerfile.changes import DEFAULT_SHELL, Changed, json_list
from portlayer.dockerfile.defaults import ContainerDefaults
from portlayer.threads import in_thread

_PIECE = 256 * 1024
FindImage = Callable[[str], Awaitable[str]]
"""The image that a stage's name or number, or an image's name, stands for."""


class StageBuild:
    """The state of one stage."""

    def __init__(
        self,
        images: BuildImages,
        runner: Runner,
        output: Output,
        context: Tree | None,
        find_image: FindImage,
        spool: Path | None,
        web: Web,
        *,
        cached: bool,
    ) -> None:
        self._images = images
        self._runner = runner
        self._output = output
        self._context = context
        self._find_image = find_image
        self._spool = spool
        self._web = web
        self._cached = cached
        self.image_id = ""
        """The image so far; empty for an empty root file system."""

        self.changed = Changed(ContainerDefaults())
        self.arguments = Arguments({}, {})
        self.author = ""
        self.platform = ""

    def begin(self, image_id: str, changed: Changed, arguments: Arguments, platform: str) -> None:
        """Stand on an image."""
        self.image_id, self.changed, self.arguments = image_id, changed, arguments
        self.platform = platform

    async def carry_out(self, instruction: Instruction) -> None:
        """Carry out one instruction. Raises what is wrong with it."""
        self.changed.arguments = self.arguments.values
        match instruction.name:
            case "RUN":
                await self._run(instruction)
            case "COPY" | "ADD":
                await self._copy(instruction)
            case "WORKDIR":
                await self._workdir(instruction)
            case _:
                await self._say(instruction)

    async def _say(self, instruction: Instruction) -> None:
        """What changes nothing but what the image says."""
        name, rest = instruction.name, instruction.rest
        if name == "ARG":
            declared = arguments_of(instruction, self.changed.variables, self.changed.escape)
            for argument, default in declared.items():
                self.arguments.declare(argument, default)
        elif name == "MAINTAINER":
            self.author = rest
        else:
            with told_of(instruction):
                self.changed.carry_out(name, rest)
        said = self.changed.defaults
        if name == "CMD":
            rest = _listed(said.command)
        elif name == "ENTRYPOINT":
            rest = _listed(said.entrypoint)
        step = self._step("#(nop) ", f"{name} {rest}")
        if not await self._from_cache(step):
            self.image_id = await self._images.make(step, _streamed(iter([END])))

    async def _workdir(self, instruction: Instruction) -> None:
        with told_of(instruction):
            self.changed.carry_out("WORKDIR", instruction.rest)
        path = self.changed.defaults.working_directory
        step = self._step("#(nop) ", f"WORKDIR {path}")
        if await self._from_cache(step):
            return
        place = await self._images.place(self.image_id, path)
        if place.mode and not stat.S_ISDIR(place.mode):
            raise bad_parameter(f"cannot mkdir: {path} is not a directory")
        layer = [*directories(place, Owner(), last_too=True), END]
        self.image_id = await self._images.make(step, _streamed(iter(layer)))

    async def _run(self, instruction: Instruction) -> None:
        said = self.changed.defaults
        command = json_list(instruction.rest)
        if command is None:
            command = [*self._shell(), instruction.rest]
        if not command:
            raise bad_parameter("RUN requires at least one argument")
        recorded = self.arguments.recorded(command, said.env)
        step = Step(self.image_id, recorded, said, self.author)
        if await self._from_cache(step):
            return
        if not self.image_id:
            raise bad_parameter("RUN has nothing to run in an image without files (FROM scratch)")
        environment = self.arguments.environment(said.env)
        self.image_id = await self._runner.run(step, command, environment, self.platform)

    async def _copy(self, instruction: Instruction) -> None:
        name = instruction.name
        with told_of(instruction):
            words = self.changed.words(instruction.rest)
            asked = self.changed.word(flag_of(instruction, "chown"))
        if len(words) < 2:
            raise bad_parameter(
                f"{name} requires at least two arguments, but only one was provided. "
                "Destination could not be determined."
            )
        *paths, written = words
        destination = destination_of(written, self.changed.defaults.working_directory)
        copy = Copy(instruction, [], destination)
        try:
            await self._find_sources(copy, paths, into_directory=written.endswith("/"))
            if len(copy.sources) > 1 and not destination.endswith("/"):
                raise bad_parameter(
                    f"When using {name} with more than one source file, the destination must be a "
                    "directory and end with a /"
                )
            owner = f"--chown={asked} " if asked else ""
            digest = await in_thread(copy.digest)
            step = self._step(f"#(nop) {name} {owner}{digest} in {destination} ")
            if not await self._from_cache(step):
                await self._make_copy(step, copy, asked)
        finally:
            copy.close()

    async def _make_copy(self, step: Step, copy: Copy, asked: str) -> None:
        async def read(path: str) -> bytes:
            return await self._images.small_file(self.image_id, path)

        owner = await owner_of(asked, read)
        place = await self._images.place(self.image_id, copy.destination)
        self.image_id = await self._images.make(step, _streamed(layer_of(copy, place, owner)))

    async def _find_sources(self, copy: Copy, paths: list[str], *, into_directory: bool) -> None:
        instruction = copy.instruction
        if source := flag_of(instruction, "from"):
            await self._find_in_image(copy, paths, await self._find_image(source))
            return
        for path in paths:
            check_elsewhere(instruction, path)
        for path in paths:
            if is_url(path):
                await self._fetch(copy, path, into_directory=into_directory)
            else:
                await self._find_in_context(copy, path)
        if not copy.sources:
            raise failed(instruction, "no source files were specified")

    async def _find_in_context(self, copy: Copy, path: str) -> None:
        if self._context is None:
            raise failed(copy.instruction, "missing build context")
        for found in await in_thread(found_sources, copy.instruction, path, self._context):
            source = found
            if copy.instruction.name == "ADD":
                tree = await in_thread(archive_in, found.tree, found.entry.path, self._spool)
                if tree is not None:
                    copy.opened.append(tree)
                    source = of_archive(found, tree)
            copy.sources.append(source)

    async def _fetch(self, copy: Copy, url: str, *, into_directory: bool) -> None:
        fetcher = await in_thread(self._web.fetcher, self._output, self._spool)
        try:
            tree, name = await fetcher.file(url, into_directory=into_directory)
        except ApiError as error:
            raise failed(copy.instruction, error.message) from error
        copy.opened.append(tree)
        copy.sources.append(Source(tree, tree.entries[name], name, fetched=True))

    async def _find_in_image(self, copy: Copy, paths: list[str], image_id: str) -> None:
        """Sources in another image, which needs no container for it."""
        for path in paths:
            clean = "/" + posixpath.normpath("/" + path).lstrip("/")
            top = clean
            while has_wildcards(top):
                top = posixpath.dirname(top)
            tree = await self._images.tree(image_id, top, f"{top} in {image_id[:19]}")
            if tree is None:
                raise failed(copy.instruction, f"stat {path[:200]}: file does not exist")
            copy.opened.append(tree)
            if top != clean:
                pattern = clean[len(top) :].lstrip("/")
                copy.sources += await in_thread(found_sources, copy.instruction, pattern, tree)
            else:
                files = [entry for name, entry in tree.entries.items() if name]
                alone = len(files) == 1 and not tree.described
                entry = files[0] if alone else tree.entries[""]
                copy.sources.append(Source(tree, entry, posixpath.basename(clean)))
        if not copy.sources:
            raise failed(copy.instruction, "no source files were specified")

    def _shell(self) -> tuple[str, ...]:
        return self.changed.defaults.shell or DEFAULT_SHELL

    def _step(self, *comment: str) -> Step:
        """A step whose image no command makes."""
        command = (*self._shell(), *comment)
        return Step(self.image_id, command, self.changed.defaults, self.author)

    async def _from_cache(self, step: Step) -> bool:
        """Whether the step was done before; from the first one that wasn't none is taken."""
        if not self._cached:
            return False
        found = await self._images.cached(step)
        if found is None:
            self._cached = False
            return False
        await self._output.text(" ---> Using cache\n")
        self.image_id = found.id
        return True


def _listed(words: tuple[str, ...]) -> str:
    return "[" + " ".join('"' + word.replace('"', '\\"') + '"' for word in words) + "]"


async def _streamed(parts: Iterator[bytes]) -> AsyncGenerator[bytes, None]:
    """A layer in pieces that are neither large nor tiny, read in a thread."""
    pieces = _pieces(parts)
    while piece := await in_thread(next, pieces, b""):
        yield piece


def _pieces(parts: Iterator[bytes]) -> Iterator[bytes]:
    pending = bytearray()
    for part in parts:
        pending += part
        while len(pending) >= _PIECE:
            yield bytes(pending[:_PIECE])
            del pending[:_PIECE]
    if pending:
        yield bytes(pending)
