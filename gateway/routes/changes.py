"""What a container's file system differs in from its image's: shown, and made an image of."""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from starlette.responses import Response
from starlette.routing import Route
from vic.exec.v1.container_pb2 import Container
from vic.exec.v1.exec_pb2 import EventKind
from vic.interaction.v1.interaction_pb2 import (
    ChangeKind,
    ChangesRequest,
    ChangesResponse,
)
from vic.storage.v1.image_pb2 import CommitStart

from gateway.call import Call, json_response
from gateway.commits import commit_container
from gateway.errors import bad_parameter
from gateway.facets import Facets, read
from gateway.routes.containers import reference
from gateway.routes.endpoint import endpoint
from gateway.routes.files import with_files
from gateway.streams import StreamResponse
from gateway.tellings import tell
from gateway.translate.commits import read_config
from gateway.translate.configs import config_json
from gateway.translate.references import tag_target

_KINDS = {
    ChangeKind.CHANGE_KIND_MODIFIED: 0,
    ChangeKind.CHANGE_KIND_ADDED: 1,
    ChangeKind.CHANGE_KIND_DELETED: 2,
}
"""Docker's numbers."""


class ChangeRoutes:
    """GET /containers/{id}/changes and POST /commit."""

    def __init__(self, facets: Facets) -> None:
        self._facets = facets

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            endpoint("GET", "/containers/{container:path}/changes", self.changes),
            endpoint("POST", "/commit", self.commit),
        ]

    async def changes(self, call: Call) -> Response:
        """List them."""
        container = await with_files(self._facets, reference(call))
        messages = read(self._facets.interaction.Changes(ChangesRequest(container_id=container.id)))
        first = await anext(messages, None)  # a refusal is a plain status
        return StreamResponse(_listed(first, messages), "application/json")

    async def commit(self, call: Call) -> Response:
        """Make an image of a container."""
        wanted, repository = call.text("container"), call.text("repo")
        if not wanted:
            raise bad_parameter("no container to commit is named (container)")
        name = tag_target(repository, call.text("tag")) if repository else ""
        body = await call.json()
        container = await with_files(self._facets, wanted)
        comment = call.text("comment")
        start = CommitStart(
            parent=container.spec.image_id,
            reference=name,
            author=call.text("author"),
            message=comment,
            changes=call.texts("changes"),
            config=read_config(body, container.spec),
            created_by=" ".join(container.spec.command),
            container_id=container.id,
            container_config=json.dumps(_own_config(container)),
        )
        image_id = await commit_container(self._facets, start, freeze=call.flag("pause", True))
        attributes = {"comment": comment, "imageID": image_id, "imageRef": name}
        await tell(self._facets, container.id, EventKind.EVENT_KIND_COMMIT, **attributes)
        return json_response({"Id": image_id}, 201)


def _own_config(container: Container) -> dict[str, Any]:
    """What a container was created with, as its image's configuration keeps it."""
    spec = container.spec
    return config_json(spec) | {"Hostname": spec.hostname or container.id[:12]}


async def _listed(
    first: ChangesResponse | None, messages: AsyncGenerator[ChangesResponse, None]
) -> AsyncGenerator[bytes, None]:
    """Changes as one JSON array; cut short, and so none, where the list can't be completed."""
    async with aclosing(messages):
        lead, message = "[", first
        while message is not None:
            for change in message.changes:
                shown = {"Path": change.path, "Kind": _KINDS[change.kind]}
                yield (lead + json.dumps(shown, separators=(",", ":"))).encode()
                lead = ","
            message = await anext(messages, None)
        yield b"[]\n" if lead == "[" else b"]\n"
