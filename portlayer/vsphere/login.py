"""Logging in to a vCenter: as a user, or as an extension with a certificate.

Source: vSphere Web Services API reference 8.0, SessionManager: Login and
LoginExtensionByCertificate.
"""

from pyVim.connect import SmartConnect, SmartStubAdapter
from pyVmomi import vim
from pyVmomi.SoapAdapter import SoapStubAdapter

from portlayer.errors import FailedPrecondition
from portlayer.vsphere.target import Target

# A connection that says nothing for so long is given up; above MOST_WAIT of properties.py.
HTTP_SECONDS = 90
# vCenter asks for a client's certificate on one port alone, which is reached through the proxy that
# it runs on its port 80, by a name that only that proxy knows.
TUNNEL = ("sdkTunnel", 8089)
PROXY_PORT = 80


def log_in(target: Target) -> vim.ServiceInstance:
    """Return a session; blocks. Raises domain errors, faults of vCenter, OSError."""
    if target.certificate_file is not None:
        return _as_extension(target)
    instance: vim.ServiceInstance = SmartConnect(
        host=target.host,
        port=target.port,
        user=target.user,
        pwd=target.password(),
        sslContext=target.tls(),
        httpConnectionTimeout=HTTP_SECONDS,
    )
    return instance


def _as_extension(target: Target) -> vim.ServiceInstance:
    """Log in through the tunnel, and go on with that session by the usual way."""
    stub = SmartStubAdapter(
        host=target.host,
        port=target.port,
        sslContext=target.tls(),
        httpConnectionTimeout=HTTP_SECONDS,
    )
    host, port = TUNNEL
    tunnel = SoapStubAdapter(
        host=host,
        port=port,
        path=stub.path,
        version=stub.version,
        httpProxyHost=target.host,
        httpProxyPort=PROXY_PORT,
        sslContext=target.tls(client=True),
        httpConnectionTimeout=HTTP_SECONDS,
    )
    try:
        sessions = vim.ServiceInstance("ServiceInstance", tunnel).content.sessionManager
        if sessions is None:
            raise FailedPrecondition(f"{target.host} has no sessions")
        sessions.LoginExtensionByCertificate(target.user, locale=None)
        stub.cookie = tunnel.cookie
        stub.SetSessionId(tunnel.GetSessionId())
    finally:
        tunnel.DropConnections()
    return vim.ServiceInstance("ServiceInstance", stub)
