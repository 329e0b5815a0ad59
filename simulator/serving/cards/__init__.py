"""Servers of hardwired cards."""
