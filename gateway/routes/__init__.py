"""The Engine API's endpoints, a module a resource."""

from pathlib import Path

from starlette.routing import BaseRoute

from gateway.build.web import Web
from gateway.facets import Facets
from gateway.routes import (
    attach,
    builds,
    changes,
    containers,
    events,
    execs,
    files,
    images,
    logs,
    networks,
    refused,
    registries,
    stats,
    system,
    usage,
    volumes,
    waiting,
)


def all_routes(
    facets: Facets, spool: Path | None = None, web: Web | None = None
) -> list[BaseRoute]:
    """Every endpoint; the ones that clients ask most come first, the refusals last.

    `spool` is where what clients upload is put aside; None for the system's own place. `web` is how
    builds fetch what is elsewhere.
    """
    return [
        *system.SystemRoutes(facets).routes(),
        *usage.UsageRoutes(facets).routes(),
        *containers.ContainerRoutes(facets).routes(),
        *attach.AttachRoutes(facets).routes(),
        *execs.ExecRoutes(facets).routes(),
        *waiting.WaitRoutes(facets).routes(),
        *files.FileRoutes(facets).routes(),
        *changes.ChangeRoutes(facets).routes(),
        *logs.LogRoutes(facets).routes(),
        *stats.StatsRoutes(facets).routes(),
        *registries.RegistryRoutes(facets).routes(),
        *images.ImageRoutes(facets).routes(),
        *networks.NetworkRoutes(facets).routes(),
        *volumes.VolumeRoutes(facets).routes(),
        *events.EventRoutes(facets).routes(),
        *builds.BuildRoutes(facets, spool, web or Web()).routes(),
        *refused.routes(),
    ]
