"""The exec facet with what it needs of the outside."""
