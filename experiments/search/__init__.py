"""`hardwire search`: the best designs of a study."""
