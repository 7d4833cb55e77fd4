"""The life of a VCH on vSphere: what `vic create` makes on a vCenter, and `vic delete` removes."""
