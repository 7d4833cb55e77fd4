"""The Docker Engine API in front of the facets: stateless, and the only place that knows Docker."""

API_VERSION = (1, 51)
"""Newest version of the Engine API that is spoken; also what an unversioned path means."""

MIN_API_VERSION = (1, 24)
