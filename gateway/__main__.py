"""The composition root: ``python -m gateway``."""

import asyncio
import logging
import sys
from importlib.metadata import version

from gateway.app import build_app
from gateway.facets import connect
from gateway.listeners import ListenError, bound, inherited
from gateway.origins import OriginPolicy
from gateway.server import GatewayServer, quiet_uvicorn
from gateway.settings import GatewaySettings
from gateway.tls import certified_names
from portlayer.descriptors import allow_descriptors
from portlayer.heap import settle
from portlayer.identity import Credentials
from portlayer.logs import configure_logs
from portlayer.server import stop_requested
from portlayer.telemetry import configure_telemetry

logger = logging.getLogger("vic.gateway")


async def serve(settings: GatewaySettings) -> None:
    """Serve until SIGTERM or SIGINT. Raises ListenError when an endpoint can't be served."""
    tls = settings.tls_dir if settings.tls_verify else None
    listeners = [
        *inherited(settings.gateway_listen_fd, tls=tls is not None),
        *bound(settings.gateway_listen, tls=tls is not None, share_ports=settings.share_ports),
    ]
    if not listeners:
        raise ListenError("nothing to listen on: give --gateway_listen unix:///PATH")
    names = [*settings.gateway_names, *(certified_names(tls) if tls is not None else ())]
    origins = OriginPolicy(names, settings.gateway_origins)
    stop = stop_requested()
    async with connect(settings, Credentials.load(settings.credentials_dir)) as facets:
        app = build_app(facets, origins, version("vic"), settings.state_dir, settings.web)
        addresses = [str(listener.getsockname()) for listener in listeners]
        settle()
        logger.info("serving the Docker API", extra={"addresses": addresses})
        await GatewayServer(app, stop, tls).serve_on(listeners)


def main() -> int:
    """Run the gateway; the exit code is 1, with a sentence in the log, when it can't start."""
    settings = GatewaySettings.from_command_line()
    configure_logs(settings.role, settings.log_level)
    quiet_uvicorn()
    configure_telemetry(settings.role, settings.instance_id, settings.otlp_endpoint)
    allow_descriptors()  # each attached client takes two
    try:
        asyncio.run(serve(settings))
    except (ListenError, OSError) as error:
        logger.error("cannot start: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
