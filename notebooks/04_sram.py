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

# %% [markdown]
# # SRAM: users against context against adapters
#
# KV cache and adapters share one SRAM, and HC1 has no other memory. More users, longer contexts and
# more resident adapters all want the same bytes. What fits?

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from hardwire.experiments.shared.style import AMOUNT, INK, MAROON, PAPER, STYLE, ordered
from hardwire.experiments.sweep import Design, evaluate

plt.rcParams.update(STYLE)
base = Design.open("hc1", {"adapter": "r16:all-linear"})
sizes = evaluate(base, {}, ("sram.kv_bytes", "sram.adapter_bytes"))
token_bytes = sizes["sram.kv_bytes"][0] / 2048
adapter_bytes = sizes["sram.adapter_bytes"][0]
capacity = base.chip.sram.capacity_mib * 2**20
print(f"capacity               {capacity / 2**20:6.1f} MiB")
print(f"a token of KV cache    {token_bytes / 2**10:6.1f} KiB")
print(f"an adapter of rank 16  {adapter_bytes / 2**20:6.1f} MiB, {adapter_bytes / token_bytes:.0f}"
      " tokens of KV cache")  # fmt: skip

# %% [markdown]
# ## Users that fit
#
# For each context per user and number of resident adapters of rank 16. Every cell is a design; the
# whole map is one call.

# %%
contexts = np.array([256, 512, 1024, 2048, 4096, 6144])
adapters = np.arange(0, 11)
grid_context, grid_adapters = (axis.ravel() for axis in np.meshgrid(contexts, adapters))
found = evaluate(
    base,
    {
        "workload.prompt": grid_context // 2,
        "workload.output": grid_context - grid_context // 2,
        "workload.adapters": grid_adapters,
    },
    ("sram.max_users",),
)
users = found["sram.max_users"].reshape(len(adapters), len(contexts))

figure, axes = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
axes.imshow(np.log1p(users), cmap=AMOUNT, aspect="auto", origin="lower")
for (row, column), value in np.ndenumerate(users):
    axes.text(
        column, row, f"{value:.0f}", ha="center", va="center", fontsize=9,
        color=PAPER if value > 8 else MAROON if value == 0 else INK,
    )  # fmt: skip
axes.set_xticks(range(len(contexts)), [f"{context:,}" for context in contexts])
axes.set_yticks(range(len(adapters)), adapters)
axes.set(xlabel="tokens of context per user", ylabel="adapters in SRAM")
axes.set_title("Users that fit on one HC1", loc="left", fontsize=10)
plt.show()

# %% [markdown]
# ## What would make more fit
#
# Four users of 2,048 tokens with four adapters in SRAM, and the changes that could make room. Area
# is what the blocks then take; the die is as published. A change of format costs quality, which
# `hardwire formats` measures, and no area. Adapters and KV cache are counted with their scales.

# %%
wanted = {"workload.users": 4, "workload.adapters": 4}
changes = {
    "as filed": {},
    "adapters as int4": {"adapter.format": "int4"},
    "adapters of rank 8": {"adapter.rank": 8},
    "KV cache in 4 bits": {"formats.kv_bits": 4},
    "both formats in 4 bits": {"adapter.format": "int4", "formats.kv_bits": 4},
    "720 MiB of SRAM": {"sram.capacity_mib": 720},
}
rows = []
for name, settings in changes.items():
    one = evaluate(
        base, {**wanted, **settings}, ("sram.free_bytes", "sram.max_users", "area_mm2.total")
    )
    rows.append(
        {
            "change": name,
            "free, MiB": one["sram.free_bytes"][0] / 2**20,
            "users that fit": int(one["sram.max_users"][0]),
            "area, mm²": one["area_mm2.total"][0],
        }
    )
table = pd.DataFrame(rows).set_index("change")
table.style.format({"free, MiB": "{:+.1f}", "area, mm²": "{:.0f}"})

# %% [markdown]
# ## The border
#
# The same as lines: the longest context of each of some users, against the adapters in SRAM.

# %%
figure, axes = plt.subplots(figsize=(7.5, 3.4), layout="constrained")
for number, color in zip((1, 2, 4, 8), ordered(4), strict=True):
    longest = evaluate(
        base,
        {"workload.users": number, "workload.adapters": adapters},
        ("sram.max_context_tokens",),
    )["sram.max_context_tokens"]
    axes.plot(
        adapters,
        longest,
        "o-",
        color=color,
        label=f"{number} users" if number > 1 else "1 user",
    )
axes.set(xlabel="adapters in SRAM", ylabel="tokens of context per user", ylim=(0, None))
axes.yaxis.set_major_formatter("{x:,.0f}")
axes.legend(frameon=False, fontsize=9)
plt.show()

# %% [markdown]
# ## Answer

# %%
at = {(int(a), int(c)): int(users[i, j]) for i, a in enumerate(adapters)
      for j, c in enumerate(contexts)}  # fmt: skip
print(
    f"One HC1 holds {at[0, 2048]} users of 2,048 tokens without adapters, {at[1, 2048]} with one "
    f"of rank 16, {at[4, 2048]} with four. Each such adapter costs a user "
    f"{adapter_bytes / token_bytes:.0f} tokens of context.\n"
    f"Four users with four adapters lack {-table['free, MiB'].iloc[0]:.0f} MiB. "
    f"4-bit adapters alone still lack {-table.loc['adapters as int4', 'free, MiB']:.0f} MiB and a "
    f"4-bit KV cache alone {-table.loc['KV cache in 4 bits', 'free, MiB']:.0f} MiB. Both together "
    f"leave {table.loc['both formats in 4 bits', 'free, MiB']:.0f} MiB free; 720 MiB of SRAM would "
    f"need {table.loc['720 MiB of SRAM', 'area, mm²']:.0f} mm² for the blocks on a die of "
    f"{base.chip.die.area_mm2:g} mm²."
)
