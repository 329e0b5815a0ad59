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
# # What limits HC1?
#
# A decode step goes through ROM matrices, attention, vector units and sampling, one after the
# other. Which of them should an architect make faster, and what does that cost in area and power?

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import hardwire as hw
from hardwire.experiments.shared.style import COLORS, OPERATION_NAMES, STYLE
from hardwire.simulator import draw_chips

plt.rcParams.update(STYLE)
chip = hw.Chip.open("hc1")
layers = hw.LanguageModel.open(chip.model).layers
LOAD = {"prompt": 1024, "output": 1024}
filed = hw.predict(chip, **LOAD)

# %% [markdown]
# ## It depends on the context
#
# The ROM pass takes the same time whatever the context; attention reads all of the KV cache. From
# some context on, attention is the larger part.

# %%
context = np.arange(64, 6737, 16)
steps = hw.predict(chip, prompt=context - 1, output=2)
names = ["rom", "norms_activations", "lm_head_sampling", "attention"]
parts = [1e6 * np.broadcast_to(steps.breakdown_s[name], context.shape) for name in names]

figure, axes = plt.subplots(figsize=(7.5, 3.6), layout="constrained")
axes.stackplot(
    context, parts, colors=[COLORS[name] for name in names],
    labels=[OPERATION_NAMES[name] for name in names],
)  # fmt: skip
axes.set(xlabel="tokens of context", ylabel="µs per token", xlim=(0, context[-1]))
axes.xaxis.set_major_formatter("{x:,.0f}")
axes.legend(loc="upper left", frameon=False, fontsize=9)
plt.show()
crossing = context[np.argmax(parts[3] > parts[0])]
print(f"attention takes longer than the ROM matrices from {crossing:,} tokens of context on")

# %% [markdown]
# ## What doubling each resource buys
#
# One parameter at a time is made twice as good: the rate, and what the blocks then take of the die.
# The KV read port and its multipliers go together, since the slower of the two decides. The clock
# is not in the list: it makes everything faster, and the power with it.

# %%
twice = {
    "broadcast lanes": {"datapath.lanes": 32},
    "half the pipeline fill": {"datapath.fill_cycles": 12},
    "vector lanes": {"datapath.vector_lanes": 512},
    "KV read and multipliers": {
        "attention.kv_read_bytes_per_cycle": 16384, "attention.macs_per_cycle": 65536,
    },
    "top-k and sampling loop": {
        "sampling.topk_logits_per_cycle": 256, "sampling.loop_cycles": 200,
    },
}  # fmt: skip
rows = []
for name, settings in twice.items():
    one = hw.predict(chip, settings=settings, **LOAD)
    rows.append(
        {
            "doubled": name,
            "rate": one.decode_tokens_per_s_user / filed.decode_tokens_per_s_user - 1,
            "area, mm²": one.area_mm2["total"] - filed.area_mm2["total"],
            "power, W": one.power_w - filed.power_w,
        }
    )
gains = pd.DataFrame(rows).set_index("doubled").sort_values("rate", ascending=False)
gains.style.format({"rate": "{:+.1%}", "area, mm²": "{:+.1f}", "power, W": "{:+.1f}"})

# %% [markdown]
# ## How sure is the order?
#
# Lanes, fill and the other parameters of HC1 are not published. `draw_chips` gives chips that agree
# with the measured rate; in each of them we ask for the shares of a token's time.

# %%
drawn = hw.predict(draw_chips(chip), **LOAD)
shares = {
    OPERATION_NAMES[name]: np.percentile(drawn.breakdown_s[name] / drawn.token_s, [5, 50, 95])
    for name in names
}
pd.DataFrame(shares, index=["5%", "median", "95%"]).T.style.format("{:.1%}")

# %% [markdown]
# ## Answer

# %%
first, second = gains.index[:2]
rom_first = np.mean(drawn.breakdown_s["rom"] > drawn.breakdown_s["attention"])
fill = chip.datapath.fill_cycles / (chip.datapath.clock_ghz * 1e3) * 4 * layers
print(
    f"At 1,024 + 1,024 tokens the ROM matrices limit HC1, in {rom_first:.0%} of the chips that "
    f"agree with the measured rate; beyond {crossing:,} tokens of context attention does.\n"
    f"Of single measures, doubling the {first} gives most ({gains['rate'].iloc[0]:+.0%}) but takes "
    f"{gains['area, mm²'].iloc[0]:+.0f} mm² on a die with "
    f"{chip.die.area_mm2 - filed.area_mm2['total']:.1f} mm² to spare; doubling {second} gives "
    f"{gains['rate'].iloc[1]:+.0%} for {gains['area, mm²'].iloc[1]:+.1f} mm².\n"
    f"{fill:.1f} µs of the {1e6 * filed.breakdown_s['rom']:.1f} µs in the ROM are pipeline fill."
)
