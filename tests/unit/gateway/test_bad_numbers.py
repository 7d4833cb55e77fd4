"""Numbers, texts and nesting that no message of the contract can hold: a 400, and no failure."""

import json
from typing import Any

import httpx
import pytest

from gateway.errors import ApiError
from gateway.translate.create import read_create_request
from gateway.translate.filters import Filters
from gateway.translate.times import from_query, nanoseconds
from gateway.translate.until import until_of
from tests.unit.gateway.fake_facets import FakeSuite


def logging(size: str) -> dict[str, Any]:
    return {"HostConfig": {"LogConfig": {"Type": "json-file", "Config": {"max-size": size}}}}


def tmpfs(options: Any) -> dict[str, Any]:
    mount = {"Type": "tmpfs", "Target": "/x", "TmpfsOptions": {"Options": options}}
    return {"HostConfig": {"Mounts": [mount]}}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            {"NetworkingConfig": {"EndpointsConfig": {"n": {"GwPriority": 3_000_000_000}}}},
            "EndpointsConfig.n.GwPriority is out of range",
        ),
        (logging("99999999999t"), "size '99999999999t' of log option max-size is out of range"),
        (tmpfs(5), "Options must be an array"),
        (tmpfs([5]), "Options must hold arrays"),
        (tmpfs([["size", 5]]), "Options must hold strings"),
        (
            {"HostConfig": {"SecurityOpt": ["seccomp=" + "[" * 100_000]}},
            "Decoding seccomp profile failed: it is nested too deeply",
        ),
        ({"HostConfig": {"SecurityOpt": ['seccomp={"a":"\\ud800"}']}}, "not valid Unicode"),
        # The class's last resort, for what no check has found.
        ({"Hostname": "\ud800"}, "invalid request: "),
    ],
)
def test_what_no_message_holds_is_the_clients_mistake(body: dict[str, Any], message: str) -> None:
    with pytest.raises(ApiError) as refused:
        read_create_request({"Image": "busybox", **body}, "", "", (1, 51))
    assert (refused.value.status, message in refused.value.message) == (400, True)


@pytest.mark.parametrize("filters", ['{"name":["\\ud800"]}', "[" * 100_000])
def test_filters_that_are_no_text(filters: str) -> None:
    with pytest.raises(ApiError, match="invalid filter"):
        Filters.parse(filters, {"name"})


@pytest.mark.parametrize("number", ["-+5", "+-5", "--5", "1_0", "", "1" * 19])
async def test_numbers_of_a_query(client: httpx.AsyncClient, suite: FakeSuite, number: str) -> None:
    answer = await client.get("/containers/json", params={"limit": number})
    assert answer.status_code == (400 if number else 200)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("9999999999", 2**63 - 1),
        ("253402300799", 2**63 - 1),
        ("-62135596800", -(2**63)),
        ("1700000000.5", 1_700_000_000_500_000_000),
    ],
)
def test_moments_stay_where_databases_can_count(text: str, moment: int) -> None:
    found = from_query("since", text)
    assert found is not None
    assert nanoseconds(found) == moment
    until = until_of(Filters.parse(json.dumps({"until": [text]}), {"until"}))
    assert until is not None
    assert nanoseconds(until) == max(1, moment)
