"""Who may call what."""

from portlayer.identity import Role
from portlayer.interceptors import Access

_SERVICE = "/vic.network.v1.NetworkService/"

_READERS = frozenset({Role.GATEWAY, Role.EXEC, Role.ADMIN, Role.OPERATOR, Role.VIEWER})
_WRITERS = frozenset({Role.GATEWAY, Role.ADMIN, Role.OPERATOR})
_SAGA = frozenset({Role.EXEC})
"""Endpoints belong to containers, and these to exec: it alone gives and takes them."""

ACCESS: Access = {
    _SERVICE + name: roles
    for names, roles in (
        (("Info",), _READERS | {Role.INTERACTION, Role.INSTALLER}),
        (("Get", "List"), _READERS | {Role.INSTALLER}),
        (("Resolve", "WatchEvents"), _READERS),
        (("Create", "Remove"), _WRITERS | {Role.INSTALLER}),
        (("Prune",), _WRITERS),
        # Nothing of Docker's API comes to them: a network's user is no administrator.
        (
            ("SetOutsideAlias", "RemoveOutsideAlias"),
            frozenset({Role.ADMIN, Role.OPERATOR, Role.INSTALLER}),
        ),
        (
            (
                "Reserve",
                "GetReservation",
                "ListReservations",
                "Bind",
                "Unbind",
                "Release",
                "Rename",
                "Connect",
                "Disconnect",
                "Publish",
                "Unpublish",
            ),
            _SAGA,
        ),
    )
    for name in names
}
