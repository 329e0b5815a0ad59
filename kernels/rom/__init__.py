"""Packed ROM matrices."""
