"""Other projects' own tests, run against our endpoint."""
