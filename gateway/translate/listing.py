"""Which containers a list shows."""

from collections.abc import Collection, Iterable, Iterator, Sequence

from vic.exec.v1.container_pb2 import Container

from gateway.errors import bad_parameter, not_found
from gateway.translate import states
from gateway.translate.filters import Filters
from gateway.translate.health import WORDS as HEALTH_WORDS
from gateway.translate.health import health_word
from gateway.translate.ports import PortFilter, port_bindings
from gateway.translate.times import nanoseconds

FILTERS = frozenset(
    {
        *("ancestor", "before", "exited", "expose", "health", "id", "is-task", "isolation"),
        *("label", "name", "network", "publish", "since", "status", "volume"),
    }
)


class Selection:
    """A list's conditions, checked once. Raises a 400 for values that can't be.

    ``ancestors`` are the IDs of the images that the "ancestor" filter names.
    """

    def __init__(
        self, filters: Filters, ancestors: Collection[str], everything: bool, limit: int
    ) -> None:
        self._filters = filters
        self._ancestors = ancestors
        self._everything = everything or limit > 0 or "status" in filters
        self._limit = limit
        self._exit_codes = frozenset(_exit_code(value) for value in filters.get("exited"))
        self._published = PortFilter("publish", filters.get("publish"))
        self._exposed = PortFilter("expose", filters.get("expose"))
        for value in filters.get("status") - states.WORDS:
            known = ", ".join(sorted(states.WORDS))
            raise bad_parameter(f"invalid filter 'status={value}': must be one of {known}")
        for value in filters.get("health") - HEALTH_WORDS:
            raise bad_parameter(f"invalid filter 'health={value}'")

    def of(self, containers: Iterable[Container]) -> list[Container]:
        """The containers that fit, newest first."""
        ordered = sorted(containers, key=lambda c: nanoseconds(c.created_at), reverse=True)
        chosen = [c for c in self._between(ordered) if self._fits(c)]
        return chosen[: self._limit] if self._limit > 0 else chosen

    def _between(self, ordered: Sequence[Container]) -> Iterator[Container]:
        """Those made before one container and since another."""
        newest, oldest = 0, len(ordered)
        for value in self._filters.get("before"):
            newest = max(newest, _position(ordered, value) + 1)
        for value in self._filters.get("since"):
            oldest = min(oldest, _position(ordered, value))
        return iter(ordered[newest:oldest])

    def _fits(self, container: Container) -> bool:
        if not self._everything and not states.is_running(container):
            return False
        filters, spec = self._filters, container.spec
        if not filters:
            return True
        state = states.word(container)
        if "is-task" in filters and filters.flag("is-task"):
            return False
        exit_code_fits = not self._exit_codes or (
            state == "exited" and container.status.exit_code in self._exit_codes
        )
        ancestor_fits = "ancestor" not in filters or spec.image_id in self._ancestors
        return (
            exit_code_fits
            and ancestor_fits
            and filters.exact("status", state)
            and filters.prefix("id", container.id)
            and filters.pattern("name", spec.name, f"/{spec.name}")
            and filters.labels(spec.labels)
            and filters.exact("health", health_word(container))
            and filters.exact("isolation", "default")
            and self._network_fits(container)
            and self._volume_fits(container)
            and (not filters.get("publish") or self._published.names_one_of(port_bindings(spec)))
            and (not filters.get("expose") or self._exposed.names_one_of(spec.exposed_ports))
        )

    def _network_fits(self, container: Container) -> bool:
        wanted = self._filters.get("network")
        if not wanted:
            return True
        names = {endpoint.network_name for endpoint in container.endpoints}
        ids = [endpoint.network_id for endpoint in container.endpoints]
        return any(
            value in names or any(network_id.startswith(value) for network_id in ids)
            for value in wanted
        )

    def _volume_fits(self, container: Container) -> bool:
        wanted = self._filters.get("volume")
        mounts = container.spec.mounts
        return not wanted or any(m.source in wanted or m.target in wanted for m in mounts)


def _position(ordered: Sequence[Container], value: str) -> int:
    name = value.removeprefix("/")
    for position, container in enumerate(ordered):
        if container.spec.name == name or (value and container.id.startswith(value)):
            return position
    raise not_found(f"No such container: {value}")


def _exit_code(value: str) -> int:
    digits = value.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 9:
        raise bad_parameter(f"invalid filter 'exited={value}'")
    return int(value)
