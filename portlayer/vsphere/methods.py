"""Disabled methods: what others may no longer do to a VM that isn't theirs.

vCenter keeps a list of methods that are refused for an entity, and who asked for it. The calls that
change the list are used by vCenter's own solutions, and are in no public reference; their shape is
that of govmomi's object/authorization_manager_internal.go. They need the privileges
``Global.DisableMethods`` and ``Global.EnableMethods``.
"""

from pyVmomi import VmomiSupport, vim

SOURCE = "vic"
"""Who asked: what vCenter shows beside a method that is disabled."""

DESTRUCTIVE = ("Destroy_Task", "UnregisterVM_Task", "UnregisterVM")
"""What would delete a container's VM with the disks that are attached to it, shared ones too."""

_VERSION = "vim.version.version1"
_INTERNAL = "urn:internalvim25"


def _method(name: str, methods: str) -> VmomiSupport.Object:
    """Describe a method of the authorization manager, as pyvmomi describes those that it knows."""
    params = (
        ("entity", "vim.ManagedEntity[]"),
        ("method", methods),
        ("sourceId", "string"),
    )
    return VmomiSupport.Object(
        name=name,
        typeName="vim.AuthorizationManager",
        wsdlName=name,
        version=_VERSION,
        params=tuple(
            VmomiSupport.Object(
                name=param,
                type=VmomiSupport.GetVmodlType(kind),
                typeName=kind,
                version=_VERSION,
                flags=0,
                privId=None,
            )
            for param, kind in params
        ),
        isTask=False,
        resultFlags=VmomiSupport.F_OPTIONAL,
        result=VmomiSupport.GetVmodlType("void"),
        methodResult=VmomiSupport.GetVmodlType("void"),
        privId=None,
        faults=[],
    )


VmomiSupport.CreateDataType(
    "vim.AuthorizationManager.VicDisabledMethod",
    "DisabledMethodRequest",
    "vmodl.DynamicData",
    _VERSION,
    [("method", "string", _VERSION, 0), ("reasonId", "string", _VERSION, 0)],
)
_Disabled = VmomiSupport.GetVmodlType("vim.AuthorizationManager.VicDisabledMethod")
_DISABLE = _method("DisableMethods", "vim.AuthorizationManager.VicDisabledMethod[]")
_ENABLE = _method("EnableMethods", "string[]")


def disable(content: vim.ServiceInstanceContent, entity: vim.ManagedEntity) -> None:
    """Have vCenter refuse what is destructive. Raises vCenter's faults."""
    asked = [_Disabled(method=name, reasonId=SOURCE) for name in DESTRUCTIVE]
    _invoke(content, _DISABLE, [entity], asked)


def enable(content: vim.ServiceInstanceContent, entity: vim.ManagedEntity) -> None:
    """Let it be done again. Idempotent. Raises vCenter's faults."""
    _invoke(content, _ENABLE, [entity], list(DESTRUCTIVE))


def in_their_name_space(request: bytes) -> bytes:
    """Return a request in the name space of its method: pyvmomi knows one name space alone."""
    for name in ("DisableMethods", "EnableMethods"):
        plain = f'<{name} xmlns="urn:vim25">'.encode()
        if plain in request:
            return request.replace(plain, plain.replace(b"urn:vim25", _INTERNAL.encode()), 1)
    return request


def _invoke(
    content: vim.ServiceInstanceContent, method: VmomiSupport.Object, *arguments: object
) -> None:
    manager = content.authorizationManager
    assert manager is not None, "every vCenter has one"
    manager._stub.InvokeMethod(manager, method, (*arguments, SOURCE))
