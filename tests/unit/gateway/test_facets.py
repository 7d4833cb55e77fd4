"""What the gateway asks of its channels."""

from vic.exec.v1 import exec_pb2

from gateway.facets import REPEATABLE

SERVICE = exec_pb2.DESCRIPTOR.services_by_name["ExecService"]


def test_what_is_called_once_more_is_in_the_contract() -> None:
    """gRPC takes no notice of a method that it doesn't know."""
    assert {f"{SERVICE.full_name}/{method.name}" for method in SERVICE.methods} > set(REPEATABLE)
