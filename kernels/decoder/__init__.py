"""A decoder on packed weights."""
