"""Dockerfile instructions that change what an image says: of `docker build`, and of `-c` elsewhere."""
