"""The driver that the settings choose: the one place that knows them all.

A driver is imported when it is chosen: what vCenter's takes is a tenth of the service's memory.
"""

from portlayer.vsphere.settings import required
from services.network.drivers import Driver
from services.network.settings import NetworkSettings


def choose_driver(settings: NetworkSettings) -> Driver:
    """Return the driver, not started yet. Raises ValueError where its section is missing."""
    return _vsphere(settings) if settings.driver == "vsphere" else _linux(settings)


def _vsphere(settings: NetworkSettings) -> Driver:
    from portlayer.vsphere.session import VCenter
    from services.network.drivers.vsphere.driver import VsphereDriver

    section = required(settings.vsphere)
    return VsphereDriver(VCenter(section.target()), section, settings.instance_id)


def _linux(settings: NetworkSettings) -> Driver:
    from services.network.drivers.linux import Guards, LinuxDriver, Names

    guards = Guards(settings.tether_port, tuple(settings.closed_ports))
    return LinuxDriver(Names(settings.instance_id, settings.slot), guards)
