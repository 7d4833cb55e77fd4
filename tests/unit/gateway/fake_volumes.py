"""The storage facet's volumes."""

from vic.storage.v1 import volume_pb2_grpc


class FakeVolumes(volume_pb2_grpc.VolumeServiceServicer):
    """Nothing is implemented, as at first in the real one."""
