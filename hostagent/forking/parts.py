"""Gathers what a fork has for itself: its files, its ends of sockets, its taps."""

import os
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from pathlib import Path

from hostagent.assembly import file_identity, listen
from hostagent.commandline import places_for
from hostagent.forking import anatomy
from hostagent.layout import Layout
from hostagent.machine import Machine
from hostagent.outputs import Outputs
from hostagent.records import Record
from hostagent.taps import create_tap, settle_tap
from hostagent.tetherport import port_pair


@dataclass(frozen=True)
class Parts:
    """What a fork has for itself, and what it may share."""

    replacements: dict[int, Sequence[int]]
    """Our descriptors, each with its numbers in the fork."""
    shared: list[tuple[int, int]]
    qmp_path: Path
    config_peer: int
    tether_port: socket.socket


class PartsMaker:
    """Makes them, and finds out where the template has its own."""

    def __init__(self, layout: Layout, outputs: Outputs) -> None:
        self._layout = layout
        self._outputs = outputs

    def make(
        self,
        machine: Machine,
        template: Record,
        memory: int,
        frame: bytes,
        closing: ExitStack,
        undo: AsyncExitStack,
    ) -> Parts:
        """Gather everything. ``memory`` is the parent's, which template and fork may share.

        ``frame`` is what the fork's tether is told as soon as it runs; it may be empty.
        ``closing`` gets what must be closed when the fork has its copies, ``undo`` what must be
        undone when it never runs. Raises OSError.
        """
        # The template's command line without the taps' names, which have no part in this.
        places = places_for(
            Machine(template.machine_id, template.launch_id, template.kind, template.shape)
        )
        seen = list(anatomy.descriptors(template.process.pid))

        def numbers_of(identity: tuple[int, int]) -> list[int]:
            return [one.number for one in seen if one.identity == identity]

        replacements: dict[int, Sequence[int]] = {}
        console_of, exit_of = self._outputs.identities(template.machine_id)
        console = self._outputs.open_console(machine.machine_id)
        closing.callback(os.close, console)
        replacements[console] = numbers_of(console_of)
        undo.callback(self._outputs.remove_exit, machine.machine_id)
        record = self._outputs.open_exit(machine.machine_id)
        closing.callback(os.close, record)
        replacements[record] = numbers_of(exit_of)

        qmp_path = self._layout.qmp_socket(machine.machine_id, machine.launch_id)
        qmp = closing.enter_context(listen(qmp_path, self._layout.exec_uid))
        undo.callback(qmp_path.unlink, missing_ok=True)
        qmp.setblocking(False)
        replacements[qmp.fileno()] = [places.qmp]
        theirs, ours = port_pair(frame)
        closing.enter_context(theirs)
        undo.callback(ours.close)
        theirs.setblocking(False)
        replacements[theirs.fileno()] = [places.config]
        peer = ours.dup()
        closing.enter_context(peer)
        replacements[peer.fileno()] = [places.config_peer]

        for nic, former, number in zip(machine.nics, template.nics, places.nics, strict=True):
            tap = create_tap(nic.tap_name)
            closing.callback(os.close, tap)
            settle_tap(tap, nic.tap_name, former.tap_name)
            replacements[tap] = [number]
        null = os.stat(os.devnull)
        return Parts(
            replacements,
            [file_identity(memory), (null.st_dev, null.st_ino)],
            qmp_path,
            places.config_peer,
            ours,
        )
