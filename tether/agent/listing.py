"""Answers a TopCommand: the workload's processes, in as many messages as that takes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from vic.tether.v1.tether_pb2 import ProcessList, ProcessListRow, TopCommand

from tether.agent.ps import PsError, View, columns, rows
from tether.agent.tasks import Task, Tasks

# Well below the size of a message that interaction takes.
_PART_BYTES = 128 * 1024
# A list that is longer would take the control stream from other messages for too long.
_MOST_BYTES = 8 * 1024 * 1024


def process_list(
    command: TopCommand, init_pid: int, tasks: Tasks, init_started: float = 0.0
) -> Iterator[ProcessList]:
    """The parts of the answer, in order.

    ``init_started`` is when the init process began to be the container's, since 1970: to the kernel
    it is as old as the wait for a container before that.
    """
    try:
        chosen = columns(list(command.ps_args))
    except PsError as error:
        yield ProcessList(command_id=command.command_id, complete=True, error=str(error))
        return
    view = View(time.time(), tasks.total_memory(), tasks.user_names(init_pid))
    found = [
        _since(task, init_started, view.now) if task.pid == init_pid else task
        for task in tasks.read()
    ]
    table = rows(chosen, found, view)
    if sum(_size(row) for row in table) > _MOST_BYTES:
        why = "the list of processes is too long"
        yield ProcessList(command_id=command.command_id, complete=True, error=why)
        return
    part = ProcessList(command_id=command.command_id, titles=[column.title for column in chosen])
    size = 0
    for row in table:
        if size > _PART_BYTES:
            yield part
            part, size = ProcessList(command_id=command.command_id), 0
        part.rows.append(ProcessListRow(columns=row))
        size += _size(row)
    part.complete = True
    yield part


def _since(task: Task, started: float, now: float) -> Task:
    """A process that began no earlier than that."""
    if task.started >= started:
        return task
    return replace(task, started=started, elapsed=max(0.0, now - started))


def _size(row: Sequence[str]) -> int:
    """Bytes on the wire, at most: four for a character, some for each field's head."""
    return sum(4 * len(value) + 8 for value in row)
