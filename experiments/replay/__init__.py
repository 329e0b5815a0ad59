"""`hardwire replay` and `hardwire compare`: a load on one server, or on several."""
