"""Whether the service of a container serves: ``python -m portlayer.probe ROLE``; 0 if so, else 1.

By grpc.health.v1 with the service's own certificate, at the Unix socket that it serves where there
is one: at a TCP port that replicas share, another one might answer.
"""

import asyncio
import sys

import grpc
from grpc_health.v1 import health_pb2
from pydantic_settings import CliApp

from portlayer.identity import Credentials, Role, server_name
from portlayer.settings import FacetSettings

PROBE_SECONDS = 20.0


def own_address(settings: FacetSettings, role: Role) -> str:
    """Return where this process alone answers, if anywhere."""
    served = settings.listen or [settings.target(role)]
    return next((address for address in served if address.startswith("unix:")), served[0])


async def serves(settings: FacetSettings, role: Role) -> bool:
    """Ask the service."""
    credentials = Credentials.load(settings.data_dir / "pki" / role)
    options = [("grpc.ssl_target_name_override", server_name(role, settings.instance_id))]
    target = own_address(settings, role)
    async with grpc.aio.secure_channel(target, credentials.channel(), options=options) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer = await check(health_pb2.HealthCheckRequest(), timeout=PROBE_SECONDS)
        except grpc.aio.AioRpcError as error:
            print(f"{role} does not answer: {error.details()}", file=sys.stderr)
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def main() -> int:
    """Probe the role that the command line names."""
    settings = CliApp.run(FacetSettings, cli_args=[])
    return 0 if asyncio.run(serves(settings, Role(sys.argv[1]))) else 1


if __name__ == "__main__":
    sys.exit(main())
