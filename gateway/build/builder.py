"""A build: one stage after another, and names for what the last one has made."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from vic.storage.v1.image_pb2 import TagRequest

from gateway.build.arguments import PREDEFINED, Arguments
from gateway.build.images import BuildImages
from gateway.build.lexing import MAX_DOCKERFILE, Instruction, instruction_of, lex
from gateway.build.matching import IgnorePatterns
from gateway.build.options import Options
from gateway.build.output import Output
from gateway.build.running import Runner
from gateway.build.stages import Plan, Stage, checked, plan_of, with_labels
from gateway.build.steps import StageBuild
from gateway.build.trees import Tree
from gateway.build.web import Web
from gateway.errors import bad_parameter
from gateway.facets import Facets
from gateway.translate.references import familiar
from portlayer.dockerfile.changes import Changed
from portlayer.dockerfile.defaults import ContainerDefaults, from_message

_DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MAX_IGNORE = 1 << 20
_DOCKERFILE = "Dockerfile"
"""Where nobody says another; it may be in small letters then."""


@dataclass
class Done:
    """What a stage has made."""

    name: str
    image_id: str
    defaults: ContainerDefaults = field(default_factory=ContainerDefaults)


def planned(options: Options, dockerfile: bytes) -> Plan:
    """Read a Dockerfile. Raises a 400 that says what is wrong."""
    plan = plan_of(lex(dockerfile), options.arguments, options.target)
    with_labels(plan, options.labels)
    return plan


def prepared(options: Options, context: Tree) -> Plan:
    """Read what is to be built out of the context, and hide what .dockerignore keeps out of it.

    That is the Dockerfile and .dockerignore themselves: all else clients leave out as they send.
    Raises a 400 that says what is wrong.
    """
    entry = context.find(options.dockerfile)
    if entry is None and options.dockerfile == _DOCKERFILE:
        entry = context.find(_DOCKERFILE.lower())
    if entry is None or not entry.is_file:
        raise bad_parameter(f"Cannot locate specified Dockerfile: {options.dockerfile[:200]}")
    plan = planned(options, context.read(entry, MAX_DOCKERFILE))
    ignoring = context.find(".dockerignore")
    if ignoring is not None and ignoring.is_file:
        text = context.read(ignoring, _MAX_IGNORE).decode("utf-8-sig", "replace")
        patterns = IgnorePatterns(text.splitlines())
        for path in (".dockerignore", entry.path):
            if patterns.leaves_out(path):
                context.without(path)
    return plan


class Builder:
    """Carries out one build."""

    def __init__(
        self,
        facets: Facets,
        options: Options,
        plan: Plan,
        context: Tree | None,
        output: Output,
        spool: Path | None,
        web: Web,
    ) -> None:
        """`context` is the build's to close; None where there is but a Dockerfile."""
        self._facets = facets
        self._options = options
        self._plan = plan
        self._context = context
        self._output = output
        self._spool = spool
        self._web = web
        self._images = BuildImages(facets, options, output, spool)
        self._runner = Runner(facets, options, output, self._images)
        self._done: list[Done] = []
        self._at = 0

    async def build(self) -> None:
        """Build everything, and name it. Raises what keeps a step from being done."""
        try:
            for instruction in self._plan.arguments:
                await self._tell(instruction)
            used = set(self._plan.known)
            for stage in self._plan.stages:
                used |= await self._stage(stage)
            await self._finish(used)
        finally:
            if self._context is not None:
                self._context.close()

    async def _tell(self, instruction: Instruction) -> None:
        self._at += 1
        await self._output.text(f"Step {self._at}/{self._plan.steps} : {instruction.original}\n")

    async def _stage(self, stage: Stage) -> set[str]:
        """Build a stage; return the arguments that it declares."""
        await self._tell(stage.source)
        build = StageBuild(
            self._images,
            self._runner,
            self._output,
            self._context,
            self._image_of,
            self._spool,
            self._web,
            cached=self._options.cached,
        )
        image_id, defaults = await self._base(stage)
        triggers = [instruction_of(text, 0, "\\") for text in defaults.on_build]
        arguments = Arguments(self._options.arguments, self._plan.known)
        changed = Changed(_begun(defaults), escape=self._plan.escape)
        platform = stage.platform or self._options.platform
        build.begin(image_id, changed, arguments, platform)
        if triggers:
            many = "s" if len(triggers) > 1 else ""
            await self._output.text(f"# Executing {len(triggers)} build trigger{many}\n")
        for trigger in triggers:
            if checked(trigger).name in ("FROM", "ONBUILD", "MAINTAINER"):
                raise bad_parameter(f"{trigger.name} isn't allowed as an ONBUILD trigger")
            await build.carry_out(trigger)
        await self._told_image(build.image_id)
        for instruction in stage.instructions:
            await self._tell(instruction)
            await build.carry_out(instruction)
            await self._told_image(build.image_id)
        self._done.append(Done(stage.name, build.image_id, build.changed.defaults))
        if build.image_id:
            await self._output.line({"aux": {"ID": build.image_id}})
        return build.arguments.declared

    async def _told_image(self, image_id: str) -> None:
        await self._output.text(f" ---> {image_id.removeprefix('sha256:')[:12]}\n")

    async def _base(self, stage: Stage) -> tuple[str, ContainerDefaults]:
        """The image that a stage stands on, and what that says of containers."""
        for done in self._done:
            if done.name and done.name == stage.image.lower():
                return done.image_id, done.defaults
        if stage.image == "scratch":
            return "", ContainerDefaults()
        image = await self._images.wanted(stage.image, stage.platform)
        return image.id, from_message(image.config)

    async def _image_of(self, name: str) -> str:
        """What `--from` names: a stage before this one, or an image."""
        for done in self._done:
            if done.name and done.name == name.lower():
                return _whole(done, name)
        if name.isascii() and name.isdecimal():
            if int(name) < len(self._done):
                return _whole(self._done[int(name)], name)
            raise bad_parameter(
                f"invalid from flag value {name[:20]}: refers to current build block or one that "
                "doesn't exist"
            )
        return (await self._images.wanted(name, "")).id

    async def _finish(self, used: set[str]) -> None:
        image_id = self._done[-1].image_id
        if not image_id:
            raise bad_parameter("No image was generated. Is your Dockerfile empty?")
        unused = sorted(set(self._options.arguments) - used - PREDEFINED)
        if unused:
            names = " ".join(unused)
            await self._output.text(
                f"[Warning] One or more build-args [{names}] were not consumed\n"
            )
        short = image_id.removeprefix("sha256:")[:12]
        await self._output.text(f"Successfully built {short}\n")
        for tag in self._options.tags:
            await self._facets.images.Tag(TagRequest(source=image_id, target=tag))
            await self._output.text(f"Successfully tagged {familiar(tag)}\n")
        if self._options.quiet:
            await self._output.last(f"{image_id}\n")


def _whole(done: Done, name: str) -> str:
    if not done.image_id:
        raise bad_parameter(f"the stage {name[:100]} has no files to copy from")
    return done.image_id


def _begun(defaults: ContainerDefaults) -> ContainerDefaults:
    """What a stage begins with: its base's triggers are done, and there is always a path."""
    env = defaults.env
    if not any(entry.startswith("PATH=") for entry in env):
        env = (*env, _DEFAULT_PATH)
    return replace(defaults, env=env, on_build=())
