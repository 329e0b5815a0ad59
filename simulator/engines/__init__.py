"""The engines: a reference for reading, a compiled one, and one for many designs."""
