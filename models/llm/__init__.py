"""What a language model is made of: its parts, its config.json, and its checkpoint's tensors."""
