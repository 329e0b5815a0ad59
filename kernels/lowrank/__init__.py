"""Low-rank products: one token, and batches."""
