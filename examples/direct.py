"""Run a container over gRPC alone, without the Docker API: pull, create, attach, start, wait.

sudo vic client issue me --role operator
sudo python examples/direct.py me 127.0.0.1:5000/busybox echo hello
"""

import json
import sys
from pathlib import Path

import grpc
from vic.exec.v1 import container_pb2, exec_pb2, exec_pb2_grpc
from vic.interaction.v1 import interaction_pb2, interaction_pb2_grpc
from vic.storage.v1 import image_pb2, image_pb2_grpc
from vic.tether.v1 import process_pb2

DATA_DIR = Path("/var/lib/vic")


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


def run(identity: Path, image: str, command: list[str], data_dir: Path = DATA_DIR) -> int:
    """Run a container to its end, with its output on ours; returns its exit code."""
    images = image_pb2_grpc.ImageServiceStub(connect("storage", identity, data_dir))
    containers = exec_pb2_grpc.ExecServiceStub(connect("exec", identity, data_dir))
    streams = interaction_pb2_grpc.InteractionServiceStub(
        connect("interaction", identity, data_dir)
    )

    for _ in images.Pull(image_pb2.PullRequest(reference=image)):
        pass  # progress, layer by layer
    spec = container_pb2.ContainerSpec(image=image, command=command)
    container = containers.Create(exec_pb2.CreateRequest(spec=spec)).container

    start = interaction_pb2.AttachStart(
        container_id=container.id, stdout=True, stderr=True, stream=True
    )
    output = streams.Attach(iter([interaction_pb2.AttachRequest(start=start)]))
    next(output)  # attached: from here on no byte is missed
    ended = containers.Wait(
        exec_pb2.WaitRequest(reference=container.id, condition=exec_pb2.WAIT_CONDITION_NEXT_EXIT)
    )
    next(ended)  # watching
    containers.Start(exec_pb2.StartRequest(reference=container.id, request_id="first"))

    for message in output:
        piece = message.output
        stream = sys.stderr if piece.stream == process_pb2.STD_STREAM_STDERR else sys.stdout
        stream.buffer.write(piece.data)
    exit_code = next(ended).result.exit_code
    containers.Remove(exec_pb2.RemoveRequest(reference=container.id))
    return exit_code


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
