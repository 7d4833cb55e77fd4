"""Reading properties, by path and in batches.

Attribute access on a managed object is a round trip each, and reads all below it: ``config`` of a
thousand VMs takes seconds of parsing. So everything is read through the property collector, by the
paths that are needed. Source: PropertyCollector in the vSphere Web Services API reference.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from pyVmomi import VmomiSupport, vim, vmodl

ManagedObject = VmomiSupport.ManagedObject
M = TypeVar("M", bound=ManagedObject)
Collector = vmodl.query.PropertyCollector
# Paths and their values; what is unset on the object is absent.
Properties = dict[str, Any]

# Longest that a wait for news blocks, in seconds.
MOST_WAIT = 30


def read(
    content: vim.ServiceInstanceContent,
    objects: Sequence[M],
    kind: type[M],
    paths: Sequence[str],
) -> list[tuple[M, Properties]]:
    """Return properties of objects that are known. Raises vCenter's faults."""
    if not objects:
        return []
    spec = Collector.FilterSpec(
        objectSet=[Collector.ObjectSpec(obj=obj) for obj in objects],
        propSet=[Collector.PropertySpec(type=kind, pathSet=list(paths))],
    )
    return list(_pages(content.propertyCollector, spec, kind))


def read_present(
    content: vim.ServiceInstanceContent,
    objects: Sequence[M],
    kind: type[M],
    paths: Sequence[str],
) -> list[tuple[M, Properties]]:
    """Return properties of those objects that are there still. Raises vCenter's other faults."""
    try:
        return read(content, objects, kind, paths)
    except vmodl.fault.ManagedObjectNotFound:
        # It says so of one, and tells nothing of the others. They are few that go at a time.
        found = []
        for one in objects:
            with suppress(vmodl.fault.ManagedObjectNotFound):
                found += read(content, [one], kind, paths)
        return found


def read_below(
    content: vim.ServiceInstanceContent,
    root: vim.ManagedEntity,
    kind: type[M],
    paths: Sequence[str],
) -> list[tuple[M, Properties]]:
    """Return properties of all objects of a kind below a folder, pool or other container."""
    view = open_view(content, root, kind)
    try:
        return list(_pages(content.propertyCollector, view_filter(view, kind, paths), kind))
    finally:
        view.Destroy()


def read_kinds(
    content: vim.ServiceInstanceContent,
    root: vim.ManagedEntity,
    wanted: Mapping[type[ManagedObject], Sequence[str]],
) -> list[tuple[ManagedObject, Properties]]:
    """Return properties of all objects of several kinds below a container, by one call for all."""
    manager = content.viewManager
    assert manager is not None, "every vCenter has one"
    view = manager.CreateContainerView(root, list(wanted), True)
    try:
        spec = view_filter(view, vim.ManagedEntity, [])
        spec.propSet = [
            Collector.PropertySpec(type=kind, pathSet=list(paths)) for kind, paths in wanted.items()
        ]
        return list(_pages(content.propertyCollector, spec, ManagedObject))
    finally:
        view.Destroy()


def open_view(
    content: vim.ServiceInstanceContent, root: vim.ManagedEntity, kind: type[ManagedObject]
) -> vim.view.ContainerView:
    """Return a view of all objects of a kind below a container; whoever asks destroys it."""
    manager = content.viewManager
    assert manager is not None, "every vCenter has one"
    return manager.CreateContainerView(root, [kind], True)


def view_filter(
    view: vim.view.ContainerView, kind: type[ManagedObject], paths: Sequence[str]
) -> Collector.FilterSpec:
    """Return the filter of what a view holds, as it comes and goes."""
    through = Collector.TraversalSpec(
        name="view", type=vim.view.ContainerView, path="view", skip=False
    )
    return Collector.FilterSpec(
        objectSet=[Collector.ObjectSpec(obj=view, skip=True, selectSet=[through])],
        propSet=[Collector.PropertySpec(type=kind, pathSet=list(paths))],
    )


def watch_task(
    content: vim.ServiceInstanceContent, task: vim.Task
) -> tuple[vim.TaskInfo.State, Any, BaseException | None]:
    """Block until a task has ended; return its state, result and fault."""
    paths = ["info.state", "info.result", "info.error"]
    ended = (vim.TaskInfo.State.success, vim.TaskInfo.State.error)
    ((_, told),) = read(content, [task], vim.Task, paths)
    if told["info.state"] not in ended:
        # A collector of its own: waits of one collector end one another.
        collector = content.propertyCollector.CreatePropertyCollector()
        try:
            spec = Collector.FilterSpec(
                objectSet=[Collector.ObjectSpec(obj=task)],
                propSet=[Collector.PropertySpec(type=vim.Task, pathSet=paths)],
            )
            collector.CreateFilter(spec, True)
            version = ""
            options = Collector.WaitOptions(maxWaitSeconds=MOST_WAIT)
            while told["info.state"] not in ended:
                update = collector.WaitForUpdatesEx(version, options)
                if update is None:
                    continue
                version = update.version
                for change in _changes(update):
                    told[change.name] = change.val
        finally:
            collector.Destroy()
    return told["info.state"], told.get("info.result"), told.get("info.error")


def settle(content: vim.ServiceInstanceContent, entity: vim.ManagedEntity) -> None:
    """Block until the tasks of an entity that are under way have ended, however they do."""
    manager = content.taskManager
    assert manager is not None, "every vCenter has one"
    ((_, told),) = read(content, [manager], vim.TaskManager, ["recentTask"])
    for task in told.get("recentTask", []):
        # One that ended long ago may be forgotten at any moment.
        with suppress(vmodl.fault.ManagedObjectNotFound):
            ((_, info),) = read(content, [task], vim.Task, ["info.entity", "info.state"])
            of = info.get("info.entity")
            if of is not None and of._GetMoId() == entity._GetMoId():
                watch_task(content, task)


def _changes(update: Collector.UpdateSet) -> Iterator[Collector.Change]:
    for found in update.filterSet or []:
        for entry in found.objectSet or []:
            yield from entry.changeSet or []


def _pages(
    collector: Collector, spec: Collector.FilterSpec, kind: type[M]
) -> Iterator[tuple[M, Properties]]:
    # How much a page holds is vCenter's choice.
    page = collector.RetrievePropertiesEx([spec], Collector.RetrieveOptions())
    while page is not None:
        for entry in page.objects:
            assert isinstance(entry.obj, kind), "the filter asks for no other"
            yield entry.obj, properties(entry.propSet)
        if not page.token:
            return
        page = collector.ContinueRetrievePropertiesEx(page.token)


def properties(found: Iterable[vmodl.DynamicProperty] | None) -> Properties:
    """Return paths and values as a dictionary."""
    return {entry.name: entry.val for entry in found or []}
