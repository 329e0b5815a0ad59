"""Questions put to the simulator: the command line, verdicts, plots and traces."""
