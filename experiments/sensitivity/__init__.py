"""`hardwire sensitivity`: which parameters a metric hangs on."""
