"""imagec: images from registries, verified byte by byte, into the image store.

Sources: OCI distribution and image specifications 1.1, Docker Registry HTTP API V2 and its token
authentication.
"""
