"""`hardwire report`: one HTML page of what --save wrote."""
