"""A container's health in Docker's words."""

from typing import Any

from vic.exec.v1.container_pb2 import CONTAINER_STATE_RUNNING, CONTAINER_STATE_STOPPING, Container
from vic.tether.v1.health_pb2 import (
    HEALTH_STATUS_HEALTHY,
    HEALTH_STATUS_STARTING,
    HEALTH_STATUS_UNHEALTHY,
)

from gateway.translate.times import rfc3339

NONE = "none"
"""Of a container without a health check."""

_WORDS = {
    HEALTH_STATUS_STARTING: "starting",
    HEALTH_STATUS_HEALTHY: "healthy",
    HEALTH_STATUS_UNHEALTHY: "unhealthy",
}
WORDS = frozenset(_WORDS.values()) | {NONE}
"""All that Docker has."""

# As dockerd says: where nobody looks, nobody is well.
_CHECKED = (CONTAINER_STATE_RUNNING, CONTAINER_STATE_STOPPING)


def health_word(container: Container) -> str:
    """Docker's word for the health; one that is paused or has ended counts as unhealthy."""
    status = container.status
    if not status.HasField("health"):
        return NONE
    if status.state not in _CHECKED:
        return "unhealthy"
    return _WORDS.get(status.health.status, NONE)


def health_json(container: Container) -> dict[str, Any]:
    """The state of a health check as inspect gives it."""
    health = container.status.health
    return {
        "Status": health_word(container),
        "FailingStreak": health.failing_streak,
        "Log": [
            {
                "Start": rfc3339(result.started_at),
                "End": rfc3339(result.finished_at),
                "ExitCode": result.exit_code,
                "Output": result.output,
            }
            for result in health.results
        ],
    }
