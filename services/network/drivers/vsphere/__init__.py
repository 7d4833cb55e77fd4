"""The vsphere driver of network: segments are port groups, ports are network cards of VMs."""
