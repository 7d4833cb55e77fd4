"""Making images that no registry sent: of a root file system, of an archive, of a container."""
