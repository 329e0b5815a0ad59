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
# Three things make a question: a chip, a model, and perhaps an adapter. The model is the chip's own
# unless another is named, and the load 1,024 tokens in and 1,024 out.

# %%
import numpy as np

import hardwire as hw

result = hw.run("hc1", adapter="r16:all-linear")
result

# %% [markdown]
# `result` shows the verdict; its fields hold the numbers, and `to_frame` the metrics with their
# intervals.

# %%
result.to_frame().style.format("{:.5g}")

# %% [markdown]
# ## Where the numbers come from
#
# Every parameter of the chip states its kind and source. HC1's clock is fitted: it was set so that
# the decode rate is the vendor's. The rate above is therefore no validation. Nor is the power: no
# value was taken from the published 200 W, but the form of the model was chosen with it in sight.

# %%
chip = hw.Chip.open("hc1")
parameters = chip.to_frame()
parameters[parameters.index.str.startswith(("datapath.", "sram.", "lora.", "formats."))]

# %% [markdown]
# ## Where a token's time goes
#
# `run` simulates token by token on the compiled engine, and divides a decode step by operation.

# %%
result.plot()

# %% [markdown]
# The adapter's part is the wait for its side paths: they hear no activation before the ROM matrix
# does, and finish after it. How the rate depends on the rank, with its 90% interval:

# %%
result.plot("rank")

# %% [markdown]
# ## One call, many designs
#
# `predict` gives the same in closed form, for arrays: here the rate for outputs of many lengths.

# %%
many = hw.predict("hc1", output=2 ** np.arange(6, 13))
many.to_frame()[["output", "decode_tokens_per_s_user", "power_w"]].round(1)

# %% [markdown]
# ## Answer

# %%
parts = result.to_frame("breakdown")["base"]
rate = result.base.decode_tokens_per_s_user
loss = 1 - result.adapter.rates.decode_tokens_per_s_user / rate
print(
    f"HC1 decodes {rate:,.0f} tokens/s for one user, {rate / 17_000 - 1:+.1%} against 17,000; "
    f"of the time {parts.max() / parts.sum():.0%} goes to '{parts.idxmax()}'.\n"
    f"A rank-16 adapter costs {loss:.1%} of the rate and "
    f"{result.adapter.bytes / 2**20:.1f} of {chip.sram.capacity_mib:g} MiB of SRAM; swapping it in "
    f"from host memory takes {1e3 * result.adapter.swap.warm:.1f} ms."
)
