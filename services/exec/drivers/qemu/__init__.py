"""The embedded driver: QEMU, launched and confined by the host agent, spoken to over QMP."""
