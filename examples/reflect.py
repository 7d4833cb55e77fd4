"""Ask a facet what it serves, and call it, with nothing of ours but a certificate.

sudo vic client issue me --role viewer
sudo python examples/reflect.py me exec
sudo python examples/reflect.py me exec vic.exec.v1.ExecService/Get '{"reference": "web"}'

Needs PyPI's grpcio and grpcio-reflection alone: what the services and their messages are, the
server says. Any other reflection client (grpcurl, say) can do the same.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

SECONDS = 60


def connect(role: str, identity: Path, data_dir: Path) -> grpc.Channel:
    """Return a channel to a facet, as the client whose certificate lies in `identity`."""
    ca, key, certificate = ((identity / f).read_bytes() for f in ("ca.crt", "tls.key", "tls.crt"))
    instance_id = json.loads((data_dir / "instance.json").read_text())["instance_id"]
    return grpc.secure_channel(
        f"unix:{data_dir}/run/{role}.sock",
        grpc.ssl_channel_credentials(ca, key, certificate),
        # A server's certificate names its role and its instance, whatever its address.
        [("grpc.ssl_target_name_override", f"{role}.{instance_id}.vic")],
    )


def signature(method: MethodDescriptor) -> str:
    """Return a method as the contract has it."""
    sends = "stream " if method.client_streaming else ""
    answers = "stream " if method.server_streaming else ""
    return (
        f"{method.containing_service.full_name}/{method.name}"
        f"({sends}{method.input_type.name}) returns ({answers}{method.output_type.name})"
    )


def call(
    channel: grpc.Channel, pool: DescriptorPool, method: MethodDescriptor, request: str
) -> Iterator[str]:
    """Call a method that takes one message; yield its answers as JSON. Raises RpcError."""
    ask, answer = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
    path = f"/{method.containing_service.full_name}/{method.name}"
    message = json_format.Parse(request, ask(), descriptor_pool=pool)
    codec = (ask.SerializeToString, answer.FromString)
    answers: Iterable[Message]
    if method.server_streaming:
        answers = channel.unary_stream(path, *codec)(message, timeout=SECONDS)
    else:
        answers = [channel.unary_unary(path, *codec)(message, timeout=SECONDS)]
    for found in answers:
        yield json_format.MessageToJson(found, descriptor_pool=pool)


def main() -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("identity", type=Path, help="directory that `vic client issue` made")
    parser.add_argument("facet", help="exec, interaction, network or storage")
    parser.add_argument("method", nargs="?", help="PACKAGE.SERVICE/METHOD; without it, all of them")
    parser.add_argument("request", nargs="?", default="{}", help="JSON")
    parser.add_argument("--data-dir", type=Path, default=Path("/var/lib/vic"))
    arguments = parser.parse_args()
    with connect(arguments.facet, arguments.identity, arguments.data_dir) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(database)
        try:
            if arguments.method is None:
                for name in sorted(database.get_services()):
                    for method in pool.FindServiceByName(name).methods:
                        print(signature(method))
                return 0
            service, _, name = arguments.method.rpartition("/")
            method = pool.FindServiceByName(service).methods_by_name[name]
            for answer in call(channel, pool, method, arguments.request):
                print(answer)
        except grpc.RpcError as error:
            print(f"{error.code().name}: {error.details()}", file=sys.stderr)
            return 1
        except json_format.ParseError as error:
            print(error, file=sys.stderr)
            return 1
        except KeyError:
            print(f"{arguments.facet} serves no {arguments.method}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
