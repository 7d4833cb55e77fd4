"""Which role may call what of the interaction facet."""

from vic.interaction.v1 import interaction_pb2, process_pb2
from vic.tether.v1 import tether_pb2

from portlayer.identity import Role
from portlayer.interceptors import Access
from portlayer.server import rpc_names

INTERACTION = interaction_pb2.DESCRIPTOR.services_by_name["InteractionService"]
PROCESSES = process_pb2.DESCRIPTOR.services_by_name["ProcessService"]
TETHERS = tether_pb2.DESCRIPTOR.services_by_name["TetherService"]

_READ = {"InspectExec", "ListExecs", "Logs", "Stats", "WatchStats", "Top", "StatPath", "Changes"}
_OPERATORS = frozenset({Role.GATEWAY, Role.ADMIN, Role.OPERATOR})
_READERS = _OPERATORS | {Role.VIEWER}

ACCESS: Access = {
    **{
        name: frozenset(_READERS if name.rpartition("/")[2] in _READ else _OPERATORS)
        for name in rpc_names(INTERACTION)
    },
    **{name: frozenset({Role.EXEC}) for name in rpc_names(PROCESSES)},
}
"""Of the server that facets and clients reach."""

REPLICA_ACCESS: Access = {
    **{name: roles | {Role.INTERACTION} for name, roles in ACCESS.items()},
    **{name: frozenset({Role.INTERACTION}) for name in rpc_names(TETHERS)},
}
"""Of the same server where replicas carry calls to one another."""

TETHER_ACCESS: Access = {name: frozenset({Role.TETHER}) for name in rpc_names(TETHERS)}
"""Of the server on the management network, which has nothing else."""
