"""Ready studies: YAML for sweeps and searches, and the studies of serving and of scaling."""
