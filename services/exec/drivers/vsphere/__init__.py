"""The vsphere driver of exec: container VMs are VMs of a vCenter's cluster."""
