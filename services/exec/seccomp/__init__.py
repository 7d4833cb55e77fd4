"""Seccomp profiles in Docker's format, compiled to the filter that a container's kernel applies."""
