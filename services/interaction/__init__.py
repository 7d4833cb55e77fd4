"""The interaction facet: streams, logs and signals between clients and the tethers of VMs."""
