"""Which role may call what of the exec facet."""

from vic.exec.v1 import exec_pb2

from portlayer.identity import Role
from portlayer.interceptors import Access
from portlayer.server import rpc_names

SERVICE = exec_pb2.DESCRIPTOR.services_by_name["ExecService"]

_READ = {"Info", "MeasureUsage", "Get", "List", "Wait", "WatchEvents"}
_OPERATORS = frozenset({Role.GATEWAY, Role.INSTALLER, Role.ADMIN, Role.OPERATOR})
_READERS = _OPERATORS | {Role.VIEWER, Role.INTERACTION, Role.NETWORK, Role.STORAGE}

# What others do to containers they tell themselves.
_TELLERS = _OPERATORS | {Role.INTERACTION, Role.STORAGE}


def _who_may(call: str) -> frozenset[Role]:
    if call == "HoldFiles":
        # Which reaches them through the tether.
        return frozenset({Role.INTERACTION})
    if call == "RecordEvent":
        return _TELLERS
    return frozenset(_READERS if call in _READ else _OPERATORS)


ACCESS: Access = {name: _who_may(name.rpartition("/")[2]) for name in rpc_names(SERVICE)}
