"""How long a test waits for a thread, a process or a page before it calls that one hung."""

HUNG_S = 600
"""So long that no loaded machine reaches it: it ends a broken run, it measures nothing."""
