"""The container's files as tar and back; runs inside the container's root.

Everything here is done by a child of the supervisor that has entered the container's mount
namespace, so that no path, link or race leads out of the container: the kernel resolves them all.
"""
