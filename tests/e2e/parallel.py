"""The same request many times at once, over the endpoint itself."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.e2e.suite import Suite

Answer = tuple[int, Any]
Statuses = Counter[int]


def at_once(work: Callable[[str], Answer], names: Iterable[str]) -> list[Answer]:
    """Do something with each name, all at once."""
    wanted = list(names)
    with ThreadPoolExecutor(len(wanted)) as pool:
        return list(pool.map(work, wanted))


def statuses(answers: Iterable[Answer]) -> Statuses:
    """Count the answers by their status."""
    return Counter(status for status, _ in answers)


def create(
    suite: Suite, image: str, command: list[str], *, memory_bytes: int = 0
) -> Callable[[str], Answer]:
    """Return what creates a container of a name."""
    body = {"Image": image, "Cmd": command, "HostConfig": {"Memory": memory_bytes}}

    def work(name: str) -> Answer:
        return suite.api("POST", f"/containers/create?name={name}", json.dumps(body).encode())

    return work


def verb(suite: Suite, path: str, method: str = "POST") -> Callable[[str], Answer]:
    """Return what does something to the container of a name; ``path`` comes after the name."""
    return lambda name: suite.api(method, f"/containers/{name}{path}")
