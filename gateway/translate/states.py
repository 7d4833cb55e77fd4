"""A container's state in Docker's words."""

import time

from google.protobuf.timestamp_pb2 import Timestamp
from vic.exec.v1.container_pb2 import (
    CONTAINER_STATE_CREATED,
    CONTAINER_STATE_DEAD,
    CONTAINER_STATE_EXITED,
    CONTAINER_STATE_PAUSED,
    CONTAINER_STATE_REMOVING,
    CONTAINER_STATE_RESTARTING,
    CONTAINER_STATE_RUNNING,
    CONTAINER_STATE_STARTING,
    CONTAINER_STATE_STOPPING,
    CONTAINER_STATE_UNSPECIFIED,
    Container,
)

from gateway.translate.health import NONE, health_word
from gateway.translate.times import human_duration

# Docker has no word for a container between two states; it shows the one that is left.
_WORDS = {
    CONTAINER_STATE_UNSPECIFIED: "created",
    CONTAINER_STATE_CREATED: "created",
    CONTAINER_STATE_STARTING: "created",
    CONTAINER_STATE_RUNNING: "running",
    CONTAINER_STATE_PAUSED: "paused",
    CONTAINER_STATE_STOPPING: "running",
    CONTAINER_STATE_EXITED: "exited",
    CONTAINER_STATE_REMOVING: "removing",
    CONTAINER_STATE_DEAD: "dead",
    CONTAINER_STATE_RESTARTING: "restarting",
}

WORDS = frozenset(_WORDS.values())
"""All of Docker's states."""

# Docker counts a paused and a restarting container as running.
_RUNNING = frozenset({"running", "paused", "restarting"})

RUNNING_STATES = tuple(state for state, word in _WORDS.items() if word in _RUNNING)
"""Those states as exec has them."""


def word(container: Container) -> str:
    """Docker's word for the state."""
    status = container.status
    if status.state == CONTAINER_STATE_STARTING and status.HasField("finished_at"):
        # A start by hand begins the count anew.
        return "restarting" if status.restart_count else "exited"
    return _WORDS.get(status.state, "dead")


def is_running(container: Container) -> bool:
    """Whether ``docker ps`` shows it without ``-a``."""
    return word(container) in _RUNNING


def is_restarting(container: Container) -> bool:
    """Whether its restart policy is about to start it, or is at it."""
    return word(container) == "restarting"


def sentence(container: Container) -> str:
    """The STATUS column: "Up 3 minutes", "Exited (0) 2 days ago"."""
    status = container.status
    state = word(container)
    if state == "running":
        return f"Up {_since(status.started_at)}{_health(container)}"
    if state == "paused":
        return f"Up {_since(status.started_at)} (Paused)"
    if state == "restarting":
        return f"Restarting ({status.exit_code}) {_since(status.finished_at)} ago"
    if state == "exited":
        return f"Exited ({status.exit_code}) {_since(status.finished_at)} ago"
    return {"created": "Created", "removing": "Removal In Progress"}.get(state, "Dead")


def _health(container: Container) -> str:
    health = health_word(container)
    if health == NONE:
        return ""
    return " (health: starting)" if health == "starting" else f" ({health})"


def _since(moment: Timestamp) -> str:
    return human_duration(max(0.0, time.time() - moment.seconds - moment.nanos / 1e9))
