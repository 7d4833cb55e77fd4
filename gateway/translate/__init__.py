"""Docker's JSON to protos and back; no input or output of their own."""
