"""The states of a container, and the one table of what each verb does in each state.

Source of the sentences: Docker Engine's own answers to the same refusals.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from vic.exec.v1 import container_pb2

from portlayer.errors import FailedPrecondition, Reason


class State(Enum):
    """State of a container; the values are those of the contract."""

    CREATED = container_pb2.CONTAINER_STATE_CREATED
    STARTING = container_pb2.CONTAINER_STATE_STARTING
    RUNNING = container_pb2.CONTAINER_STATE_RUNNING
    PAUSED = container_pb2.CONTAINER_STATE_PAUSED
    STOPPING = container_pb2.CONTAINER_STATE_STOPPING
    EXITED = container_pb2.CONTAINER_STATE_EXITED
    REMOVING = container_pb2.CONTAINER_STATE_REMOVING
    DEAD = container_pb2.CONTAINER_STATE_DEAD
    RESTARTING = container_pb2.CONTAINER_STATE_RESTARTING

    @property
    def has_vm(self) -> bool:
        """Whether a VM exists, or is being made or taken down, for a container in this state."""
        return self in _WITH_VM

    @property
    def runs(self) -> bool:
        """Whether the init process was started and has not ended, as far as is known."""
        return self in _WITH_VM and self is not State.STARTING

    @property
    def word(self) -> str:
        """The state as a word for people."""
        return self.name.lower()


_WITH_VM = {State.STARTING, State.RUNNING, State.PAUSED, State.STOPPING}


class Verb(Enum):
    """What can be asked of a container."""

    START = "start"
    STOP = "stop"
    SIGNAL = "kill"
    PAUSE = "pause"
    UNPAUSE = "unpause"
    RENAME = "rename"
    UPDATE = "update"
    CONNECT = "connect"
    DISCONNECT = "disconnect"
    REMOVE = "remove"
    FORCE_REMOVE = "force remove"
    FILES = "reach the files of"


@dataclass(frozen=True)
class Done:
    """The verb asks for what is already so; Docker answers 304."""


@dataclass(frozen=True)
class Refused:
    """The state refuses the verb. ``{id}`` and ``{name}`` in the sentence are the container's,
    ``{reference}`` is what it was called by."""

    sentence: str
    reason: Reason = Reason.WRONG_STATE


Answer = Done | Refused | None
"""None: the verb is allowed."""

_NOT_RUNNING = Refused("container {id} is not running")
_CANNOT_KILL = Refused("cannot kill container: {name}: container {id} is not running")
_REMOVING = Refused("container {id} is marked for removal and cannot be {verb}ed")
_LEAVING = Refused(
    "Container {id} is marked for removal and cannot be connected or disconnected to the network"
)
_IN_PROGRESS = Refused(
    "removal of container {reference} is already in progress", Reason.REMOVAL_IN_PROGRESS
)
_STOP_FIRST = Refused(
    'cannot remove container "/{name}": container is {state}: '
    "stop the container before removing or force remove"
)
_UNPAUSE_TO_REMOVE = Refused(
    'cannot remove container "/{name}": container is {state} and must be unpaused first'
)
_UNPAUSE_FIRST = Refused("cannot start a paused container, try unpause instead")
_PAUSED_ALREADY = Refused("container {id} is already paused")
_NOT_PAUSED = Refused("container {id} is not paused")
_KERNEL_PAUSED = Refused(
    "container {id} is paused, and with it the kernel that knows its files: unpause it first"
)
_FILES_GO = Refused("container {id} is marked for removal, and its files with it")

_S = State
TABLE: Mapping[Verb, Mapping[State, Answer]] = {
    Verb.START: {
        _S.CREATED: None,
        _S.EXITED: None,
        _S.STARTING: Done(),
        _S.RUNNING: Done(),
        # Nobody stops it while we have its turn: a stop was interrupted, and it runs.
        _S.STOPPING: Done(),
        _S.RESTARTING: Done(),
        _S.PAUSED: _UNPAUSE_FIRST,
        _S.REMOVING: Refused("container is marked for removal and cannot be started"),
        _S.DEAD: Refused("container is marked for removal and cannot be started"),
    },
    Verb.STOP: {
        _S.CREATED: Done(),
        _S.EXITED: Done(),
        _S.DEAD: Done(),
        _S.REMOVING: Done(),
        _S.STARTING: None,
        _S.RUNNING: None,
        _S.PAUSED: None,
        _S.STOPPING: None,
        _S.RESTARTING: None,
    },
    Verb.SIGNAL: {
        _S.RUNNING: None,
        _S.STOPPING: None,
        _S.STARTING: None,
        _S.PAUSED: None,
        _S.RESTARTING: None,
        _S.CREATED: _CANNOT_KILL,
        _S.EXITED: _CANNOT_KILL,
        _S.REMOVING: _CANNOT_KILL,
        _S.DEAD: _CANNOT_KILL,
    },
    Verb.PAUSE: {
        _S.RUNNING: None,
        _S.PAUSED: _PAUSED_ALREADY,
        _S.CREATED: _NOT_RUNNING,
        _S.STARTING: _NOT_RUNNING,
        _S.STOPPING: _NOT_RUNNING,
        _S.EXITED: _NOT_RUNNING,
        _S.REMOVING: _NOT_RUNNING,
        _S.DEAD: _NOT_RUNNING,
        _S.RESTARTING: Refused("container {id} is restarting, wait until the container is running"),
    },
    Verb.UNPAUSE: {
        _S.PAUSED: None,
        **{state: _NOT_PAUSED for state in _S if state is not _S.PAUSED},
    },
    Verb.RENAME: {
        **dict.fromkeys(_S, None),
        _S.REMOVING: _REMOVING,
        _S.DEAD: _REMOVING,
    },
    Verb.UPDATE: {
        **dict.fromkeys(_S, None),
        _S.REMOVING: _REMOVING,
        _S.DEAD: _REMOVING,
    },
    **{
        verb: {**dict.fromkeys(_S, None), _S.REMOVING: _LEAVING, _S.DEAD: _LEAVING}
        for verb in (Verb.CONNECT, Verb.DISCONNECT)
    },
    Verb.REMOVE: {
        _S.CREATED: None,
        _S.EXITED: None,
        _S.DEAD: None,
        _S.REMOVING: _IN_PROGRESS,
        _S.STARTING: _STOP_FIRST,
        _S.RUNNING: _STOP_FIRST,
        _S.PAUSED: _UNPAUSE_TO_REMOVE,
        _S.STOPPING: _STOP_FIRST,
        _S.RESTARTING: _STOP_FIRST,
    },
    Verb.FORCE_REMOVE: {
        **dict.fromkeys(_S, None),
        _S.REMOVING: _IN_PROGRESS,
    },
    Verb.FILES: {
        **dict.fromkeys(_S, None),
        # Nobody starts it while we have its turn: that was interrupted, and is undone in a moment.
        _S.STARTING: _NOT_RUNNING,
        _S.PAUSED: _KERNEL_PAUSED,
        _S.REMOVING: _FILES_GO,
        _S.DEAD: _FILES_GO,
    },
}


def check(verb: Verb, state: State, *, container_id: str, name: str, reference: str = "") -> None:
    """Return when a state allows a verb. ``reference`` is what a caller called the container.

    Raises FailedPrecondition: ALREADY_DONE when there is nothing to do, otherwise the refusal's
    reason with the state in the metadata.
    """
    answer = TABLE[verb][state]
    if answer is None:
        return
    if isinstance(answer, Done):
        message = f"cannot {verb.value} a container that is {state.word}: nothing to do"
        raise FailedPrecondition(message, Reason.ALREADY_DONE, state=state.word)
    sentence = answer.sentence.format(
        id=container_id,
        name=name,
        reference=reference or name,
        state=state.word,
        verb=verb.value.rstrip("e"),
    )
    raise FailedPrecondition(sentence, answer.reason, state=state.word)
