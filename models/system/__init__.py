"""Several dies that hold one model: what they are, how they are linked, and what lies where."""
