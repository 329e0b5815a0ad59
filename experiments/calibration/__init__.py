"""`hardwire calibrate`: what measurements say of what is not published."""
