"""The web as a client: for storage, which asks registries, and the gateway, whose builds fetch."""
