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
# # What an adapter costs
#
# A LoRA adapter runs beside the ROM pass of each matrix. It costs time only where it takes longer
# than that pass; it always costs SRAM, and loading it costs a swap. What does it cost, and when is
# it free?

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import hardwire as hw
from hardwire.experiments.shared.style import STYLE, ordered
from hardwire.experiments.sweep import Design, evaluate
from hardwire.simulator import draw_chips, free_rank, swap_latency

plt.rcParams.update(STYLE)
chip, model = hw.Chip.open("hc1"), hw.LanguageModel.open("llama-3.1-8b")
base = Design.open("hc1")
ranks = np.arange(1, int(chip.formats.max_rank) + 1)
TARGETS = ("qv", "attention", "mlp", "all-linear")
COLORS = dict(zip(reversed(TARGETS), ordered(len(TARGETS)), strict=True))

# %% [markdown]
# ## Rate against rank
#
# No line begins at zero: a side path hears the broadcast of its matrix, 16 activations a cycle,
# and so has its second product left when the ROM pass ends. The band is the 90% interval on all
# linear layers: what a side path hears, reads and multiplies is not published of HC1.

# %%
alone = evaluate(base, {}, ("token_s",))["token_s"][0]
drawn = draw_chips(chip)
load = {"prompt": 1024, "output": 1024}
drawn_alone = hw.predict(drawn, **load).token_s
shapes = [f"r{rank}:all-linear" for rank in ranks]
kept = [drawn_alone / hw.predict(drawn, adapter=one, **load).token_s for one in shapes]
figure, axes = plt.subplots(figsize=(7.5, 3.6), layout="constrained")
for targets in TARGETS:
    settings = {"adapter.targets": targets, "adapter.rank": ranks}
    steps = evaluate(base, settings, ("token_s",))["token_s"]
    axes.plot(ranks, 100 * (alone / steps - 1), color=COLORS[targets], linewidth=2, label=targets)
worst, best = 100 * (np.percentile(kept, [5, 95], axis=1) - 1)
axes.fill_between(ranks, worst, best, color=COLORS["all-linear"], alpha=0.15, linewidth=0)
axes.set(xlabel="rank", ylabel="change of decode rate, %", xlim=(0, ranks[-1]))
axes.legend(frameon=False, loc="lower left", fontsize=9)
plt.show()

# %% [markdown]
# ## The free rank, and how sure it is
#
# HC1 can index rank 64 at most; the draws take that from 16 to 256, and the activations a side path
# hears from 16 to 256 a cycle. Fewer bits make an adapter smaller. They do not make it free where
# it waits for activations, as here.

# %%
rows = []
for targets in TARGETS:
    for fmt in ("int8", "int4"):
        shape = hw.Adapter.from_shape(f"r16:{targets}:{fmt}", model)
        free = free_rank(chip, model, shape.targets, fmt)
        low, high = np.percentile(free_rank(drawn, model, shape.targets, fmt), [5, 95])
        size = evaluate(
            base, {"adapter": f"r16:{targets}:{fmt}"}, ("sram.adapter_bytes",)
        )["sram.adapter_bytes"][0]  # fmt: skip
        rows.append((targets, fmt, int(free), f"{low:.0f} … {high:.0f}", round(size / 2**20, 1)))
columns = ["targets", "format", "free rank", "90% interval", "rank 16, MiB"]
table = pd.DataFrame(rows, columns=columns).set_index(["targets", "format"])
table.style.format({"rank 16, MiB": "{:.1f}"})

# %% [markdown]
# ## A bus of its own
#
# More activations a cycle than the broadcast carries need wires of their own to every side path.
# The adapter then finishes its first product early, and the blocks grow.

# %%
heard = np.array([16, 24, 32, 35, 64, 128, 256])
wider = evaluate(
    Design.open("hc1", {"adapter": "r16:all-linear"}),
    {"lora.activations_per_cycle": heard},
    ("token_s", "free_rank", "area_mm2.total"),
)
buses = pd.DataFrame(
    {
        "activations a cycle": heard,
        "rank 16 costs": 1 - alone / wider["token_s"],
        "free rank": wider["free_rank"].astype(int),
        "area, mm²": wider["area_mm2.total"],
    }
).set_index("activations a cycle")
buses.style.format({"rank 16 costs": "{:.1%}", "area, mm²": "{:.1f}"})

# %% [markdown]
# ## Swaps
#
# An adapter that is not in SRAM has to be loaded. From disk it comes as the file that PEFT writes,
# four bytes a weight, and is converted on the host; host memory holds it converted. How many tokens
# must a request decode, so that the load is less than 1% of its decode time?

# %%
rows = []
for rank in (8, 16, 32, 64):
    adapter = hw.Adapter.from_shape(f"r{rank}:all-linear", model)
    swap = swap_latency(chip, model, adapter)
    step = evaluate(base, {"adapter.rank": rank}, ("token_s",))["token_s"][0]
    rows.append(
        {
            "rank": rank,
            "from disk, ms": 1e3 * swap.cold,
            "from host, ms": 1e3 * swap.warm,
            "by layer, ms": 1e3 * swap.streamed,
            "in SRAM, ns": 1e9 * swap.resident,
            "tokens lost, from host": swap.warm / step,
            "tokens for 1%": 100 * swap.warm / step,
        }
    )
swaps = pd.DataFrame(rows).set_index("rank")
swaps.style.format("{:,.1f}").format("{:,.0f}", subset=["tokens for 1%"])

# %% [markdown]
# ## Answer

# %%
cost = 1 - alone / evaluate(base, {"adapter.rank": 64}, ("token_s",))["token_s"][0]
whole = table.loc[("all-linear", "int8")]
free = whole["free rank"]
reach = f"an int8 adapter is free up to rank {free}" if free else "no rank of int8 is free"
wide = buses.index[buses["free rank"] >= 16][0]
print(
    f"On all linear layers {reach} ({whole['90% interval']}). "
    f"Rank 16 costs {buses.loc[16, 'rank 16 costs']:.1%} of the rate and rank 64 {cost:.0%} "
    f"({-best[-1]:.0f} … {-worst[-1]:.0f}%): whether a high rank is cheap is not known.\n"
    f"With a bus of {wide} activations a cycle rank 16 is free, and the blocks take "
    f"{buses.loc[wide, 'area, mm²']:.1f} mm² on a die of {chip.die.area_mm2:g}.\n"
    f"At rank 16 an adapter takes {whole['rank 16, MiB']} MiB.\n"
    f"Swapping it in from host memory costs {swaps.loc[16, 'tokens lost, from host']:.0f} tokens, "
    f"less than 1% of the decode time of a request of {swaps.loc[16, 'tokens for 1%']:,.0f} "
    f"tokens; pointing at a resident one costs {swaps.loc[16, 'in SRAM, ns']:.0f} ns."
)
