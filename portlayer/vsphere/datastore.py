"""Files on datastores: looked for, put there by HTTP, made directories for, and deleted.

A path is vCenter's, ``[DATASTORE] DIRECTORY/FILE``. Source: FileManager, VirtualDiskManager and
HostDatastoreBrowser in the vSphere Web Services API reference; the /folder URLs in VMware's
"vSphere Web Services SDK Programming Guide".
"""

import http.client
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from urllib.parse import quote, urlencode

from pyVmomi import vim

from portlayer.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Reason,
    ResourceExhausted,
    Unavailable,
)
from portlayer.vsphere.lookup import find_datacenter, path_of
from portlayer.vsphere.properties import read
from portlayer.vsphere.session import VCenter

_PATH = re.compile(r"\[(?P<datastore>[^\]]+)\] ?(?P<path>.*)")
# How much of a file is read and sent at a time.
CHUNK = 1 << 20
# Of a file that is read as a whole.
LARGEST = 1 << 20


def split(path: str) -> tuple[str, str]:
    """Return datastore and path of ``[DATASTORE] PATH``. Raises InvalidArgument."""
    found = _PATH.fullmatch(path)
    if found is None:
        raise InvalidArgument(f"{path!r} is no datastore path: [DATASTORE] DIRECTORY/FILE")
    return found["datastore"], found["path"]


def datastore_of(
    content: vim.ServiceInstanceContent, datacenter: vim.Datacenter, name: str
) -> vim.Datastore:
    """Return a datacenter's datastore. Raises FailedPrecondition where it can't be used."""
    ((_, told),) = read(content, [datacenter], vim.Datacenter, ["datastore"])
    paths = ["name", "summary.accessible", "summary.maintenanceMode"]
    found: list[vim.Datastore] = told.get("datastore", [])
    for datastore, state in read(content, found, vim.Datastore, paths):
        if state["name"] != name:
            continue
        if not state.get("summary.accessible", True):
            raise FailedPrecondition(f"datastore {name} can't be reached by its hosts")
        return datastore
    raise FailedPrecondition(f"there is no datastore {name}", Reason.PLATFORM_OBJECT_NOT_FOUND)


async def file_exists(vcenter: VCenter, inventory_path: str, path: str) -> bool:
    """Tell whether a file is there, in the datacenter of an inventory path. Raises VicError."""
    directory, _, name = split(path)[1].rpartition("/")
    return name in await list_files(vcenter, inventory_path, f"[{split(path)[0]}] {directory}")


async def list_files(vcenter: VCenter, inventory_path: str, directory: str) -> list[str]:
    """Return the names of what is in a directory; of none where it isn't there."""

    def start(content: vim.ServiceInstanceContent) -> vim.Task:
        datacenter = find_datacenter(content, inventory_path)
        datastore = datastore_of(content, datacenter, split(directory)[0])
        ((_, told),) = read(content, [datastore], vim.Datastore, ["browser"])
        spec = vim.host.DatastoreBrowser.SearchSpec(matchPattern=["*"])
        task: vim.Task = told["browser"].SearchDatastore_Task(directory.rstrip(), spec)
        return task

    try:
        result = await vcenter.finish(start)
    except NotFound:
        return []
    return [file.path for file in result.file or []]


async def make_directory(vcenter: VCenter, inventory_path: str, directory: str) -> None:
    """Make a directory with those above it. Idempotent."""

    def make(content: vim.ServiceInstanceContent) -> None:
        manager = content.fileManager
        assert manager is not None, "every vCenter has one"
        datacenter = find_datacenter(content, inventory_path)
        manager.MakeDirectory(directory, datacenter, createParentDirectories=True)

    with suppress(AlreadyExists):
        await vcenter.call(make, repeatable=True)


async def delete(vcenter: VCenter, inventory_path: str, path: str) -> None:
    """Delete a file, or a directory with all in it. Idempotent."""

    def start(content: vim.ServiceInstanceContent) -> vim.Task:
        manager = content.fileManager
        assert manager is not None, "every vCenter has one"
        task: vim.Task = manager.DeleteDatastoreFile_Task(
            path, find_datacenter(content, inventory_path)
        )
        return task

    with suppress(NotFound):
        await vcenter.finish(start)


async def move(vcenter: VCenter, inventory_path: str, source: str, target: str) -> None:
    """Rename a file. Raises AlreadyExists where the target is there."""

    def start(content: vim.ServiceInstanceContent) -> vim.Task:
        manager = content.fileManager
        assert manager is not None, "every vCenter has one"
        datacenter = find_datacenter(content, inventory_path)
        task: vim.Task = manager.MoveDatastoreFile_Task(
            source, datacenter, target, datacenter, force=False
        )
        return task

    await vcenter.finish(start)


async def put(
    vcenter: VCenter, inventory_path: str, path: str, size: int, chunks: Iterable[bytes]
) -> None:
    """Write a file of ``size`` bytes by HTTP PUT, in a thread of the session's.

    What is there under this name is replaced. Raises VicError; a file that was cut off may be left.
    """
    await vcenter.call(partial(_put, vcenter, inventory_path, path, size, chunks))


def _put(
    vcenter: VCenter,
    inventory_path: str,
    path: str,
    size: int,
    chunks: Iterable[bytes],
    content: vim.ServiceInstanceContent,
) -> None:
    url = _url(content, inventory_path, path)
    connection = vcenter.open_http()
    try:
        connection.request(
            "PUT",
            url,
            body=_exactly(chunks, size),
            headers={
                "Content-Length": str(size),
                "Content-Type": "application/octet-stream",
                "Cookie": content.propertyCollector._stub.cookie,
            },
        )
        answer = connection.getresponse()
        answer.read()
    finally:
        connection.close()
    _check(answer.status, path)


def _url(content: vim.ServiceInstanceContent, inventory_path: str, path: str) -> str:
    """Return where a file is read and written. Raises FailedPrecondition without its datastore."""
    datastore, name = split(path)
    datacenter = find_datacenter(content, inventory_path)
    datastore_of(content, datacenter, datastore)
    # With the folders that it is in.
    center = path_of(content, datacenter).removeprefix("/")
    query = urlencode({"dcPath": center, "dsName": datastore})
    return f"/folder/{quote(name)}?{query}"


def _check(status: int, path: str) -> None:
    if status in (http.client.OK, http.client.CREATED, http.client.NO_CONTENT):
        return
    if status in (http.client.UNAUTHORIZED, http.client.FORBIDDEN):
        raise FailedPrecondition(
            f"vCenter lets us write no {path}: the privilege Datastore.FileManagement is needed",
            Reason.PRIVILEGE_MISSING,
        )
    if status in (http.client.INSUFFICIENT_STORAGE, http.client.REQUEST_ENTITY_TOO_LARGE):
        raise ResourceExhausted(f"no room for {path}", Reason.STORE_FULL)
    raise Unavailable(f"vCenter does not take {path}: HTTP {status}")


def _exactly(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Yield chunks; what is longer or shorter than it was said to be is an error of ours."""
    left = size
    for chunk in chunks:
        left -= len(chunk)
        if left < 0:
            raise AssertionError("more bytes than were announced")
        yield chunk
    if left:
        raise AssertionError("fewer bytes than were announced")


async def get(vcenter: VCenter, inventory_path: str, path: str) -> bytes | None:
    """Return a small file, or None where it isn't there. Raises VicError."""
    return await vcenter.call(
        lambda content: _get(vcenter, inventory_path, path, content), repeatable=True
    )


def _get(
    vcenter: VCenter, inventory_path: str, path: str, content: vim.ServiceInstanceContent
) -> bytes | None:
    connection = vcenter.open_http()
    try:
        headers = {"Cookie": content.propertyCollector._stub.cookie}
        connection.request("GET", _url(content, inventory_path, path), headers=headers)
        answer = connection.getresponse()
        body = answer.read(LARGEST + 1)
    finally:
        connection.close()
    if answer.status == http.client.NOT_FOUND:
        return None
    _check(answer.status, path)
    if len(body) > LARGEST:
        raise FailedPrecondition(f"{path} is larger than {LARGEST} bytes")
    return body
