"""`hardwire run`: one chip, with and without an adapter."""
