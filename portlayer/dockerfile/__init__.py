"""Dockerfile instructions that change what an image says: a build's, and those of `-c`."""
