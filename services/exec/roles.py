"""Which role may call what of the exec facet."""

from vic.exec.v1 import exec_pb2

from portlayer.identity import Role
from portlayer.interceptors import Access
from portlayer.server import rpc_names

SERVICE = exec_pb2.DESCRIPTOR.services_by_name["ExecService"]

_READ = {"Info", "Get", "List", "Wait", "WatchEvents"}
_OPERATORS = frozenset({Role.GATEWAY, Role.INSTALLER, Role.ADMIN, Role.OPERATOR})
_READERS = _OPERATORS | {Role.VIEWER, Role.INTERACTION, Role.NETWORK, Role.STORAGE}

ACCESS: Access = {
    name: frozenset(_READERS if name.rpartition("/")[2] in _READ else _OPERATORS)
    for name in rpc_names(SERVICE)
}
