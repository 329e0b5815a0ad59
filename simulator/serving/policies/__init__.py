"""What a server decides: queues, residency, routing, prefixes."""
