"""What a bench has to do with: a suite of its own, and an image that it has pulled."""

import asyncio
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from vic.exec.v1 import exec_pb2, exec_pb2_grpc

from bench.cpu import Account
from installer.facets import facet_channel
from installer.instance import load_instance
from portlayer.identity import Role
from tests.e2e.suite import Suite
from tests.images import Image, Registry

_REST_SECONDS = 300
_LOOK_SECONDS = 0.5


@contextmanager
def suite_with(image: Image, name: str) -> Iterator[tuple[Suite, str]]:
    """Start a suite and a registry, and pull an image; yield the suite and the image's reference.

    All of it is gone in the end, with every container, whoever ends the bench.
    """
    _end_in_order()
    with Registry() as registry:
        suite = Suite()
        try:
            suite.up()
            reference = registry.push(image, name)
            suite.ok("pull", reference)
            yield suite, reference
        finally:
            suite.remove()


@contextmanager
def accounted_suite() -> Iterator[tuple[Suite, Account]]:
    """Give a suite that isn't up, and the account that is charged for it."""
    _end_in_order()
    with Account("vic") as account:
        suite = Suite()
        try:
            yield suite, account
        finally:
            suite.remove()


def _end_in_order() -> None:
    """Have SIGTERM take down what has begun, as an interrupt does."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


def come_up(suite: Suite, *options: str) -> None:
    """Start a suite, and wait until it has the clones that it keeps ready.

    Their parent boots for some ten seconds, on a core that what is measured would share.
    """
    suite.up(*options)
    until = time.monotonic() + _REST_SECONDS
    while (told := starts(suite)).ready_clones_waiting < told.start_mode.ready_clones:
        if time.monotonic() > until:
            raise SystemExit(f"no clones are ready after {_REST_SECONDS} s: {told}")
        time.sleep(_LOOK_SECONDS)


def starts(suite: Suite) -> exec_pb2.InfoResponse:
    """Return what exec counts."""
    instance = load_instance(suite.data_dir)
    assert instance is not None

    async def ask() -> exec_pb2.InfoResponse:
        async with facet_channel(instance, Role.EXEC) as channel:
            stub = exec_pb2_grpc.ExecServiceStub(channel)
            return await stub.Info(exec_pb2.InfoRequest(), timeout=10)

    return asyncio.run(ask())
