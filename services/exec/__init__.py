"""The exec facet: the life of container VMs."""
