"""The control loop of a hardwired server, compiled: the rules of ``events`` over flat arrays."""
