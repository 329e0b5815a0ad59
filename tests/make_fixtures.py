"""Write tests/fixtures/decoder_logits.npz: what transformers and PEFT compute for small models.

Needs torch, transformers and peft: `pip install -e '.[dev,reference]'`, then
`python tests/make_fixtures.py`. The models and adapters are those of tests/kernels/small_models.py.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "kernels")]


def main() -> None:
    """Compute and write the fixture; an old one is replaced."""
    from reference_logits import reference_logits
    from small_models import ADAPTERS_OF, MODELS, TOKENS, write_adapter, write_model

    logits = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in MODELS:
            model = write_model(folder / name, name)
            logits[name] = reference_logits(folder / name, None, TOKENS)
            for adapter in ADAPTERS_OF.get(name, ()):
                path = write_adapter(folder / f"{name}-{adapter}", adapter, model)
                logits[f"{name}/{adapter}"] = reference_logits(folder / name, path, TOKENS)
    out = HERE / "fixtures" / "decoder_logits.npz"
    out.parent.mkdir(exist_ok=True)
    # Every sixth token, the last included, keeps the file small and all positions represented.
    kept = {name: values[5::6] for name, values in logits.items()}
    np.savez_compressed(out, **kept)
    print(f"{out}: {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
