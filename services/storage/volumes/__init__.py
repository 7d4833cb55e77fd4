"""Volumes: disks of their own, kept in stores, and who uses them."""
