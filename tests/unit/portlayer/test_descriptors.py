"""How many files processes of the suite may have open."""

import resource
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import gateway.__main__
import hostagent.__main__
import services.interaction.__main__
import services.network.__main__
from portlayer.descriptors import allow_descriptors

AS_DEBIAN = 1024


@pytest.fixture(autouse=True)
def hard() -> Iterator[int]:
    """As many as may be had, of which few are to be had at first."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(AS_DEBIAN, before[1]), before[1]))
    yield before[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def soft() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_all_that_may_be_had_are_had(hard: int) -> None:
    allow_descriptors()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)


def test_no_more_than_asked_for_and_no_more_than_allowed(hard: int) -> None:
    allow_descriptors(2048)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (min(2048, hard), hard)
    allow_descriptors(hard + 1)
    assert soft() == hard


@pytest.mark.parametrize(
    ("module", "settings"),
    [
        (gateway.__main__, "GatewaySettings"),
        (hostagent.__main__, "HostAgentSettings"),
        (services.interaction.__main__, "InteractionSettings"),
        (services.network.__main__, "NetworkSettings"),
    ],
)
def test_who_holds_many_does_not_go_by_what_it_was_started_with(
    module: Any, settings: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[int] = []

    def run(main: Any) -> None:
        ran.append(soft())

    told = SimpleNamespace(
        role="x", log_level="info", instance_id="x", otlp_endpoint="", driver="qemu"
    )
    monkeypatch.setattr(module, settings, SimpleNamespace(from_command_line=lambda: told))
    for name in ("configure_logs", "configure_telemetry"):
        monkeypatch.setattr(module, name, lambda *_: None)
    for name in ("serve", "run", "issue", "quiet_uvicorn", "close_inherited_on_exec"):
        monkeypatch.setattr(module, name, lambda *_: None, raising=False)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("os.umask", lambda mask: 0)
    monkeypatch.setattr("asyncio.run", run)
    module.main()
    assert ran[0] > AS_DEBIAN
