"""Logits of Hugging Face transformers and PEFT on a CPU in float32."""

from pathlib import Path

import numpy as np


def reference_logits(folder: Path, adapter: Path | None, tokens: np.ndarray) -> np.ndarray:
    """Logits (tokens, vocab) after each token of a text."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter)
    model.eval()
    with torch.no_grad():
        logits: np.ndarray = model(torch.tensor(tokens[None])).logits[0].numpy()
    return logits
