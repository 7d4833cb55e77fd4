"""Endpoints that Docker has and vic doesn't, each refused by its name.

Plugins are looked at by clients that only look: there are none.
"""

from starlette.responses import Response
from starlette.routing import Route

from gateway.call import Call, json_response
from gateway.errors import ApiError, not_found, not_implemented
from gateway.routes.endpoint import Handler, endpoint

_NO_MANAGER = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect '
    "this node to swarm and try again."
)
# dockerd's own words would send who tries it in a circle.
_NO_SWARM = "swarm mode is not supported: a VCH on vSphere spreads its containers over a cluster"
_NO_PART = "This node is not part of a swarm"

_SWARM = """
GET /swarm
POST /swarm/update
GET /swarm/unlockkey
POST /swarm/unlock
GET /services
GET /services/{id}
POST /services/create
POST /services/{id}/update
DELETE /services/{id}
GET /services/{id}/logs
GET /nodes
GET /nodes/{id}
DELETE /nodes/{id}
POST /nodes/{id}/update
GET /tasks
GET /tasks/{id}
GET /tasks/{id}/logs
GET /secrets
POST /secrets/create
GET /secrets/{id}
DELETE /secrets/{id}
POST /secrets/{id}/update
GET /configs
POST /configs/create
GET /configs/{id}
DELETE /configs/{id}
POST /configs/{id}/update
PUT /volumes/{name}
"""

_NOT_YET = """
GET /containers/{id:path}/checkpoints
POST /containers/{id:path}/checkpoints
DELETE /containers/{id:path}/checkpoints/{checkpoint}
GET /images/{name:path}/attestations
GET /plugins/privileges
POST /plugins/pull
POST /plugins/create
DELETE /plugins/{name:path}
POST /plugins/{name:path}/enable
POST /plugins/{name:path}/disable
POST /plugins/{name:path}/upgrade
POST /plugins/{name:path}/push
POST /plugins/{name:path}/set
POST /session
POST /grpc
"""


def routes() -> list[Route]:
    """One route for each refusal, and the empty list of plugins that clients look at."""
    return [
        endpoint("GET", "/plugins", _no_plugins),
        endpoint("GET", "/plugins/{name:path}/json", _no_plugin),
        endpoint("POST", "/swarm/init", _refusing(ApiError(501, _NO_SWARM))),
        endpoint("POST", "/swarm/join", _refusing(ApiError(501, _NO_SWARM))),
        endpoint("POST", "/swarm/leave", _refusing(ApiError(503, _NO_PART))),
        *(_route(line, ApiError(503, _NO_MANAGER)) for line in _SWARM.split("\n") if line),
        *(_route(line, None) for line in _NOT_YET.split("\n") if line),
    ]


def _route(line: str, refusal: ApiError | None) -> Route:
    method, path = line.split(" ")
    if refusal is None:
        refusal = not_implemented(f"{method} {path.replace(':path', '')}")
    return endpoint(method, path, _refusing(refusal))


def _refusing(refusal: ApiError) -> Handler:
    async def refuse(call: Call) -> Response:
        raise ApiError(refusal.status, refusal.message)

    return refuse


async def _no_plugins(call: Call) -> Response:
    return json_response([])


async def _no_plugin(call: Call) -> Response:
    raise not_found(f'plugin "{call.path("name")}" not found')
