"""Servers of GPUs."""
