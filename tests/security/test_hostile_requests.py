"""Garbage gets an answer of the caller's fault: no 5xx but "not implemented" and "no swarm"."""

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.types import ASGIApp

from gateway.app import build_app
from gateway.origins import OriginPolicy
from gateway.routes import all_routes
from tests.unit.gateway.fake_facets import fake_suite
from tests.unit.portlayer.conftest import TestAuthority

TEXT = st.text(max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
CREATE_FIELDS = st.sampled_from(
    "Image Cmd Entrypoint Env Labels HostConfig NetworkingConfig Tty User WorkingDir StopTimeout "
    "ExposedPorts Volumes Healthcheck Hostname StopSignal".split()
)
HOST_FIELDS = st.sampled_from(
    "Memory NanoCpus MemorySwap PidsLimit LogConfig RestartPolicy NetworkMode ConsoleSize Binds "
    "ShmSize MaskedPaths AutoRemove PortBindings".split()
)
CREATE = (
    st.dictionaries(
        CREATE_FIELDS, JSON | st.dictionaries(HOST_FIELDS, JSON, max_size=4), max_size=6
    )
    | JSON
)
QUERY = st.dictionaries(
    st.sampled_from(
        "all limit filters size t signal h w name condition stdout stderr tail since until logs "
        "fromImage tag platform force v detachKeys follow shared-size".split()
    ),
    TEXT | st.integers().map(str) | JSON.map(json.dumps),
    max_size=4,
)

# Streams without an end, which an application without a server can't be told to leave.
ENDLESS = ("/events", "/containers/{container:path}/wait", "/containers/{container:path}/attach")


async def garbage(app: ASGIApp, authority: TestAuthority) -> None:
    paths = [route for route in all_routes_of(app) if route[1] not in ENDLESS]
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:

        async def attempt(route: tuple[str, str], part: str, query: Any, body: Any) -> None:
            method, template = route
            path, part = template, quote(part, safe="")
            for name in ("container", "image", "network", "volume", "id", "name"):
                path = path.replace(f"{{{name}:path}}", part).replace(f"{{{name}}}", part)
            answer = await client.request(
                method,
                f"/v1.51{path}",
                params=query,
                content=json.dumps(body),
                headers={"Content-Type": "application/json"},
            )
            assert answer.status_code < 500 or answer.status_code in (501, 503), answer.text
            if answer.status_code >= 400 and method != "HEAD":
                assert isinstance(answer.json()["message"], str)

        await attempt(("GET", "/_ping"), "x", {}, None)
        attempt_any = given(st.sampled_from(paths), TEXT, QUERY, CREATE)(attempt)
        attempt_create = given(
            st.just(("POST", "/containers/create")), st.just("x"), QUERY, CREATE
        )(attempt)
        await run_hypothesis(attempt_any)
        await run_hypothesis(attempt_create)


def all_routes_of(app: Any) -> list[tuple[str, str]]:
    return [
        (method, route.path) for route in app._app.router.routes for method in sorted(route.methods)
    ]


async def run_hypothesis(test: Any) -> None:
    """Run a property whose body is a coroutine on the loop that is running."""
    inner = test.hypothesis.inner_test
    loop = asyncio.get_running_loop()

    def bridge(*args: Any, **kwargs: Any) -> None:
        asyncio.run_coroutine_threadsafe(inner(*args, **kwargs), loop).result(120)

    test.hypothesis.inner_test = bridge
    limits = settings(
        max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    await asyncio.to_thread(limits(test))


async def test_no_garbage_is_our_fault(tmp_path: Path, authority: TestAuthority) -> None:
    async with fake_suite(tmp_path, authority) as suite:
        suite.pulled("busybox:latest")
        app = build_app(suite.facets, OriginPolicy(), "0.1.0")
        assert len(all_routes(suite.facets)) > 100
        await garbage(app, authority)
