"""What every facet shares, and nothing else: server and client start-up, errors, identity,
settings, store and telemetry. Code comes here only when two facets need it.
"""
