"""vCenter through pyvmomi: what the facets' vsphere drivers share."""
