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
# # Design your own chip
#
# HC1 fills its die with one set of choices. Which others were possible on the same die, the same
# process and the same power? This searches a million designs in closed form, picks one, and checks
# it with the engine and its interval.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import hardwire as hw
from hardwire.experiments.shared.style import DESIGN_COLORS, INK, STYLE
from hardwire.experiments.sweep import Design, evaluate

plt.rcParams.update(STYLE)
chip = hw.Chip.open("hc1")
base = Design.open("hc1", {"adapter": "r16:all-linear"})
METRICS = (
    "decode_tokens_per_s_user", "area_mm2.total", "energy_j_per_decode_token", "power_w",
    "sram.max_users", "free_rank",
)  # fmt: skip

# %% [markdown]
# ## A million designs
#
# Lanes, SRAM, the ports and multipliers of attention and LoRA, and the activations that a LoRA side
# path hears are free. The clock stays HC1's:
# it is the one parameter that was fitted to a measurement, so that a faster one would be a change
# of what the process can do, not of design.

# %%
rng = np.random.default_rng(0)
count = 1_000_000
kv_port = 2 ** rng.integers(11, 16, count)
settings = {
    "datapath.lanes": rng.integers(8, 33, count),
    "sram.capacity_mib": rng.integers(100, 701, count),
    "attention.kv_read_bytes_per_cycle": kv_port,
    "attention.macs_per_cycle": 4 * kv_port,
    "lora.read_bytes_per_cycle": 2 ** rng.integers(10, 15, count),
    "lora.macs_per_cycle": 2 ** rng.integers(10, 15, count),
    "lora.activations_per_cycle": rng.integers(16, 65, count),
}
found = evaluate(base, settings, METRICS)
filed = {name: values[0] for name, values in evaluate(base, {}, METRICS).items()}
fits = (
    (found["obstacle"] == 0)
    & (found["area_mm2.total"] <= chip.die.area_mm2)
    & (found["power_w"] <= chip.power.limit_w)
)
print(f"{count:,} designs, {fits.sum():,} run a user of 2,048 tokens and fit on the die")

# %% [markdown]
# ## Rate against users
#
# Area is what is traded: SRAM for users and adapters, lanes for rate. The line is the border: for
# each number of users of 2,048 tokens beside an adapter of rank 16, the fastest design that fits.

# %%
users, rate = found["sram.max_users"], found["decode_tokens_per_s_user"]
border = []
for number in range(1, int(users[fits].max()) + 1):
    enough = np.flatnonzero(fits & (users >= number))
    best = enough[np.argmax(rate[enough])]
    border.append((number, best))

figure, axes = plt.subplots(figsize=(7.5, 3.8), layout="constrained")
shown = np.flatnonzero(fits)[:4000]
axes.scatter(
    users[shown] + rng.uniform(-0.25, 0.25, len(shown)), rate[shown], s=3,
    color=DESIGN_COLORS["feasible"], label="designs that fit (4,000 of them)",
)  # fmt: skip
axes.plot(
    [number for number, _ in border], [rate[best] for _, best in border], "o-",
    drawstyle="steps-mid", color=DESIGN_COLORS["front"], label="the fastest",
)  # fmt: skip
axes.plot(
    filed["sram.max_users"], filed["decode_tokens_per_s_user"], "D", markersize=8,
    color=DESIGN_COLORS["filed"], label="HC1 as filed",
)  # fmt: skip
axes.set_xticks([number for number, _ in border])
axes.axhline(17_000, color=INK, linestyle="--", linewidth=1)
axes.set(xlabel="users of 2,048 tokens that fit", ylabel="tokens/s, one user", ylim=(0, None))
axes.yaxis.set_major_formatter("{x:,.0f}")
axes.legend(frameon=False, fontsize=9, loc="lower left")
plt.show()

# %%
rows = []
for number, best in border:
    rows.append(
        {
            "users": number,
            "tokens/s": rate[best],
            "lanes": settings["datapath.lanes"][best],
            "SRAM, MiB": settings["sram.capacity_mib"][best],
            "KV read, B/cycle": kv_port[best],
            "LoRA hears, 1/cycle": settings["lora.activations_per_cycle"][best],
            "free rank": found["free_rank"][best],
            "area, mm²": found["area_mm2.total"][best],
            "mJ/token": 1e3 * found["energy_j_per_decode_token"][best],
        }
    )
table = pd.DataFrame(rows).set_index("users")
table.style.format("{:,.0f}").format("{:.2f}", subset=["mJ/token"])

# %% [markdown]
# ## Check one
#
# The fastest design for as many users as HC1 has, on the engine, with the interval over what is not
# published. The interval says how far the rate is known, not whether the blocks fit: most chips
# that agree with the measured rate are larger than the die.

# %%
chosen = dict(border)[int(filed["sram.max_users"])]
design = chip.with_values({name: values[chosen].item() for name, values in settings.items()})
result = hw.run(design, adapter="r16:all-linear")
low, high = result.interval["adapter_decode_tokens_per_s_user"]
pd.Series(design.overrides, name="chosen").to_frame().assign(
    filed=[chip.parameters[name].value for name in design.overrides]
)

# %% [markdown]
# Its blocks on HC1's die, to scale:

# %%
result.plot("floorplan")

# %% [markdown]
# ## Answer

# %%
gain = result.adapter.rates.decode_tokens_per_s_user / filed["decode_tokens_per_s_user"] - 1
print(
    f"On HC1's die, with HC1's clock and an adapter of rank 16, the fastest of {count:,} designs "
    f"for {filed['sram.max_users']:.0f} users decodes "
    f"{result.adapter.rates.decode_tokens_per_s_user:,.0f} tokens/s "
    f"({low:,.0f} … {high:,.0f}), {gain:+.0%} against HC1 as filed.\n"
    f"It has {design.datapath.lanes} lanes instead of {chip.datapath.lanes} and "
    f"{design.sram.capacity_mib:.0f} MiB of SRAM instead of {chip.sram.capacity_mib:.0f}, and "
    f"takes {result.prediction.area_mm2['total']:.1f} mm². "
    f"For one user alone {rate[border[0][1]]:,.0f} tokens/s fit on the die, for "
    f"{border[-1][0]} users {rate[border[-1][1]]:,.0f}."
)
