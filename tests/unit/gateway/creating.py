"""Containers that tests make over the API itself."""

from typing import Any

import httpx

CREATE = {"Image": "busybox", "Cmd": ["sleep"]}


async def create(client: httpx.AsyncClient, name: str, **body: Any) -> str:
    """Create a container; return its ID."""
    answer = await client.post(f"/containers/create?name={name}", json={**CREATE, **body})
    assert answer.status_code == 201, answer.text
    container: str = answer.json()["Id"]
    return container
