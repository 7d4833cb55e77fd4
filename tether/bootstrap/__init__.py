"""The bootstrap image: the kernel and initial RAM file system that every container VM starts from.

``python -m tether.bootstrap build`` puts it together from Debian's stock cloud kernel, Debian's
CPython packages, the gRPC wheels that the host itself runs and the tether's own code. No step
mounts anything, makes a device node or needs root.
"""
