"""One session with a vCenter for a whole service."""

import asyncio
import http.client
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar
from weakref import WeakSet

from pyVim.connect import Disconnect
from pyVmomi import vim
from pyVmomi.SoapAdapter import SoapStubAdapter

from portlayer.errors import FailedPrecondition, Unavailable, VicError
from portlayer.vsphere import methods
from portlayer.vsphere.faults import is_broken_connection, to_error
from portlayer.vsphere.login import HTTP_SECONDS, log_in
from portlayer.vsphere.properties import settle, watch_task
from portlayer.vsphere.target import Target

log = logging.getLogger("vic.vsphere")

T = TypeVar("T")

# pyvmomi blocks: so many calls are under way at once.
WORKERS = 16
OLDEST = (6, 7)


class VCenter:
    """A vCenter, logged in to once, and again when the session has ended.

    Every method raises domain errors alone. Calls run on a bounded pool of threads.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._pool = ThreadPoolExecutor(WORKERS, "vcenter")
        self._login = asyncio.Lock()
        self._instance: vim.ServiceInstance | None = None
        # What objects that were found in former sessions are called by.
        self._stubs: WeakSet[SoapStubAdapter] = WeakSet()
        self.version = ""

    async def open(self) -> None:
        """Log in. Raises Unavailable, Unauthenticated, InvalidArgument or FailedPrecondition."""
        await self._session(None)

    async def close(self) -> None:
        """Log out, and wait for calls in hand."""
        if self._instance is not None:
            instance, self._instance = self._instance, None
            with suppress(Exception):  # Whatever it is: the session will end by its age.
                await self._thread(partial(Disconnect, instance))
        await asyncio.get_running_loop().run_in_executor(None, self._pool.shutdown)

    async def call(
        self, work: Callable[[vim.ServiceInstanceContent], T], *, repeatable: bool = False
    ) -> T:
        """Do blocking work with the session's content.

        A call that vCenter refused for want of a session has done nothing, and is made once more
        after a new login. One whose connection broke may have been carried out: it is made again
        only if it is ``repeatable``.
        """
        instance = await self._session(None)
        try:
            return await self._thread(partial(_work, work, instance))
        except Exception as fault:
            again = isinstance(fault, vim.fault.NotAuthenticated) or (
                repeatable and is_broken_connection(fault)
            )
            if not again:
                raise to_error(fault) from fault
            log.info("vCenter's session has ended: %s", to_error(fault).message)
        instance = await self._session(instance)
        try:
            return await self._thread(partial(_work, work, instance))
        except Exception as fault:
            raise to_error(fault) from fault

    async def finish(
        self,
        start: Callable[[vim.ServiceInstanceContent], vim.Task | None],
        unsure: "Unsure[Any] | None" = None,
    ) -> Any:
        """Start a task and return its result when it has ended. Raises what it failed with.

        Where ``start`` finds nothing to do it returns None, and so does this. A caller that is
        cancelled leaves the task to vCenter. Where the connection broke while it was being started,
        it may run or not: with ``unsure`` that is looked up, and it is started again if it was not.
        """
        try:
            task = await self.call(start)
        except VicError as error:
            if unsure is None or not is_broken_connection(error.__cause__):
                raise
            log.info("looking up whether a task was begun: %s", error.message)
            result = await self.call(unsure.look, repeatable=True)
            if result is not None:
                return result
            task = await self.call(start)
        if task is None:
            return None
        state, result, fault = await self.call(partial(_follow, task), repeatable=True)
        if state == vim.TaskInfo.State.error:
            raise to_error(fault) from fault
        return result

    def open_http(self) -> http.client.HTTPSConnection:
        """Return a connection to the same server, as careful about who it is; blocks when used."""
        target = self._target
        return http.client.HTTPSConnection(
            target.host, target.port, context=target.tls(), timeout=HTTP_SECONDS
        )

    async def _thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def _session(self, ended: vim.ServiceInstance | None) -> vim.ServiceInstance:
        """Return the session, a new one if there is none or the one that ended is the present."""
        async with self._login:
            if self._instance is None or self._instance is ended:
                self._instance = None
                try:
                    self._instance = await self._thread(self._connect)
                except Exception as fault:
                    raise to_error(fault) from fault
            return self._instance

    def _connect(self) -> vim.ServiceInstance:
        target = self._target
        instance = log_in(target)
        instance._stub.requestModifierList.append(methods.in_their_name_space)
        about = instance.content.about
        if about.apiType != "VirtualCenter":
            raise FailedPrecondition(
                f"{target.host} is a standalone {about.fullName or 'ESXi host'}; "
                "containers need a vCenter: name that as the target"
            )
        self.version = about.apiVersion
        if tuple(int(part) for part in about.apiVersion.split(".")[:2]) < OLDEST:
            raise FailedPrecondition(
                f"vCenter {target.host} is version {about.apiVersion}; 6.7 or later is needed"
            )
        self._adopt(instance._stub)
        return instance

    def _adopt(self, stub: SoapStubAdapter) -> None:
        """Let objects of former sessions, which somebody may still have, use this one."""
        for former in self._stubs:
            former.cookie = stub.cookie
        self._stubs.add(stub)


@dataclass(frozen=True)
class Unsure(Generic[T]):
    """How it is known whether a task was begun and has ended well."""

    on: vim.ManagedEntity
    """What its method was called on."""
    result: Callable[[vim.ServiceInstanceContent], T | None]
    """Looks whether what it brings about is there, and returns its result then."""

    def look(self, content: vim.ServiceInstanceContent) -> T | None:
        """Wait for what is under way, and look."""
        settle(content, self.on)
        return self.result(content)


def _work(work: Callable[[vim.ServiceInstanceContent], T], instance: vim.ServiceInstance) -> T:
    return work(instance.content)


def _follow(
    task: vim.Task, content: vim.ServiceInstanceContent
) -> tuple[vim.TaskInfo.State, Any, BaseException]:
    state, result, fault = watch_task(content, task)
    return state, result, fault or Unavailable("vCenter does not say why its task failed")
