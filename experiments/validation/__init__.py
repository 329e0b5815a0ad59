"""Validation: every published or measured figure that the models can predict, and how far off."""
