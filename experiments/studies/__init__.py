"""Ready studies: YAML for sweeps and searches, and the study of serving."""
