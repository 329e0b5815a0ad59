# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A first tour
#
# Taalas's HC1 is a chip that *is* Llama 3.1 8B: the weights are mask ROM, and SRAM holds the KV
# cache and LoRA adapters. How fast does it decode, how sure is that, and what does an adapter do to
# it?
#
# Three things make a question: a chip, a model, and perhaps an adapter.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from hardwire.experiments.shared.style import COLORS, OPERATION_NAMES, STYLE
from hardwire.models import Adapter, Chip, LanguageModel
from hardwire.simulator import predict, run

plt.rcParams.update(STYLE)
chip = Chip.open("hc1")
model = LanguageModel.open("llama-3.1-8b")
adapter = Adapter.from_shape("r16:all-linear", model)
result = run(chip, model, adapter, prompt=1024, output=1024)

rate = result.base.decode_tokens_per_s_user
low, high = result.interval["decode_tokens_per_s_user"]
print(f"{chip.title}, {model.name}")
print(f"decode, one user     {rate:9,.0f} tokens/s, 90 % interval {low:,.0f} to {high:,.0f}")
print(f"with {adapter.name}  {result.adapter.rates.decode_tokens_per_s_user:9,.0f} tokens/s")
print(f"first token after    {1e3 * result.base.ttft_s:9.1f} ms for a prompt of 1,024 tokens")
print(f"card power           {result.prediction.power_w:9.0f} W")

# %% [markdown]
# ## Where the numbers come from
#
# Every parameter of the chip states its kind and source. HC1's clock is the only fitted one: it was
# set so that the decode rate is the vendor's. The rate above is therefore no validation; the
# power, which is not fitted, misses the published 200 W by a factor of more than two.

# %%
pd.DataFrame(
    [
        (name, f"{p.value}", p.unit, p.kind, p.range or "–", p.source[:58])
        for name, p in chip.parameters.items()
        if name.startswith(("datapath.", "sram.", "lora.", "formats."))
    ],
    columns=["parameter", "value", "unit", "kind", "range", "source"],
).set_index("parameter")

# %% [markdown]
# ## Where a token's time goes
#
# `run` simulates token by token on the compiled engine. `breakdown_s` divides a decode step by
# operation.

# %%
parts = {name: 1e6 * part for name, part in result.base.breakdown_s.items() if part}
figure, axes = plt.subplots(figsize=(7.5, 1.5), layout="constrained")
left = 0.0
for name, value in parts.items():
    axes.barh(0, value, left=left, color=COLORS[name], label=f"{OPERATION_NAMES[name]} {value:.1f}")
    left += value
axes.set(yticks=[], xlabel="µs per decoded token")
figure.legend(loc="outside upper left", ncols=4, frameon=False, fontsize=9)
plt.show()

# %% [markdown]
# ## One call, many designs
#
# `predict` gives the same in closed form, for arrays: here the rate for outputs of many lengths.

# %%
output = 2 ** np.arange(6, 13)
sweep = predict(chip, model, prompt=1024, output=output)
for tokens, value in zip(output, sweep.decode_tokens_per_s_user, strict=True):
    print(f"{tokens:6,} output tokens{value:9,.0f} tokens/s")

# %% [markdown]
# ## Answer

# %%
busiest = max(parts, key=parts.get)
loss = 1 - result.adapter.rates.decode_tokens_per_s_user / rate
print(
    f"HC1 decodes {rate:,.0f} tokens/s for one user, {rate / 17_000 - 1:+.1%} against 17,000; "
    f"{OPERATION_NAMES[busiest]} take {parts[busiest] / left:.0%} of the time.\n"
    f"A rank-16 adapter costs {loss:.1%} of the rate and "
    f"{result.adapter.bytes / 2**20:.1f} of {chip.sram.capacity_mib:g} MiB of SRAM; swapping it in "
    f"from host memory takes {1e3 * result.adapter.swap.warm:.1f} ms."
)
