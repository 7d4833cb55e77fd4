"""POST /build: an image of a Dockerfile and the files beside it; POST /build/cancel."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from pathlib import Path

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Route

from gateway.build.builder import Builder, planned, prepared
from gateway.build.options import Options, read_options
from gateway.build.output import Output
from gateway.build.spooling import spooled
from gateway.build.stages import Plan
from gateway.build.trees import Tree
from gateway.build.web import Web
from gateway.call import Call
from gateway.errors import bad_parameter
from gateway.facets import Facets
from gateway.routes.endpoint import endpoint
from gateway.streams import StreamResponse, unless_gone
from portlayer.threads import in_thread


class BuildRoutes:
    """POST /build and POST /build/cancel."""

    def __init__(self, facets: Facets, spool: Path | None, web: Web) -> None:
        """`spool` is where contexts are put aside; None for the system's own place."""
        self._facets = facets
        self._spool = spool
        self._web = web

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            endpoint("POST", "/build", self.build),
            endpoint("POST", "/build/cancel", self.cancel),
        ]

    async def build(self, call: Call) -> Response:
        """Build; what is wrong before the first step is a plain status."""
        options = read_options(call)
        output = Output(quiet=options.quiet)
        if options.remote:
            return await self._told(call, output, partial(self._from_web, options, output))
        context = await spooled(_body(call), self._spool, "the build context")
        try:
            plan = await in_thread(prepared, options, context)
            builder = self._builder(options, plan, context, output)
            return await self._told(call, output, builder.build)
        except BaseException:
            context.close()
            raise

    def _builder(
        self, options: Options, plan: Plan, context: Tree | None, output: Output
    ) -> Builder:
        return Builder(self._facets, options, plan, context, output, self._spool, self._web)

    async def _from_web(self, options: Options, output: Output) -> None:
        """Fetch what is to be built, and build it."""
        fetcher = await in_thread(self._web.fetcher, output, self._spool)
        fetched = await fetcher.context(options.remote)
        if fetched.context is None:
            plan = await in_thread(planned, options, fetched.dockerfile)
        else:
            try:
                plan = await in_thread(prepared, options, fetched.context)
            except BaseException:
                fetched.context.close()
                raise
        await self._builder(options, plan, fetched.context, output).build()

    async def _told(
        self, call: Call, output: Output, work: Callable[[], Awaitable[None]]
    ) -> Response:
        """Do the work, and answer with what it tells."""
        lines = output.told(work)
        # A quiet build's client has no answer until all is done.
        first = await unless_gone(_first(lines), call.request.receive)
        return StreamResponse(_with_first(first, lines), "application/json")

    async def cancel(self, call: Call) -> Response:
        """End the build of an ID, which none has: only BuildKit's do. As dockerd answers then."""
        call.only({"id"}, "option of a cancellation")
        if not call.text("id"):
            raise bad_parameter("build ID not provided")
        return Response()


async def _body(call: Call) -> AsyncIterator[bytes]:
    try:
        async for piece in call.request.stream():
            yield piece
    except ClientDisconnect:
        raise bad_parameter("the client went away before it had sent its request") from None


async def _first(lines: AsyncGenerator[bytes, None]) -> bytes:
    return await anext(lines, b"")


async def _with_first(
    first: bytes, lines: AsyncGenerator[bytes, None]
) -> AsyncGenerator[bytes, None]:
    async with aclosing(lines):
        yield first
        async for line in lines:
            yield line
