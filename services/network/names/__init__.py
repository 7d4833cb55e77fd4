"""Names of containers: who has which, and the name server that tells it to their networks."""
