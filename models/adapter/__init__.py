"""LoRA adapters: shapes, configs, files."""
