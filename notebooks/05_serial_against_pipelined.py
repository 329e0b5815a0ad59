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
# # Serial against pipelined
#
# HC1 appears to have one token in flight: users take turns. But each layer has hardware of its own,
# so tokens of several users could follow each other through it. What would such a chip give?

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import hardwire as hw
from hardwire.experiments.shared.style import GRID, ISSUES, STYLE
from hardwire.simulator import draw_chips

plt.rcParams.update(STYLE)
serial = hw.Chip.open("hc1")
pipelined = serial.with_values({"datapath.issue": "pipelined"})
LOAD = {"prompt": 1024, "output": 1024}

# %% [markdown]
# ## As many users as fit
#
# Without adapters SRAM holds three users of 2,048 tokens. Here both are simulated token by token.

# %%
rows = []
for users in (1, 2, 3):
    for chip in (serial, pipelined):
        result = hw.run(chip, users=users, **LOAD)
        rows.append(
            {
                "users": users,
                "issue": chip.datapath.issue,
                "tokens/s, user": result.base.decode_tokens_per_s_user,
                "tokens/s, chip": result.base.decode_tokens_per_s_chip,
                "prompt tokens/s": result.base.prefill_tokens_per_s,
                "first token, ms": 1e3 * result.base.ttft_s,
                "power, W": result.prediction.power_w,
                "energy, mJ/token": 1e3 * result.prediction.energy_j_per_decode_token,
            }
        )
table = pd.DataFrame(rows).set_index(["users", "issue"])
table.style.format("{:,.0f}").format("{:.1f}", subset=["first token, ms"]).format(
    "{:.2f}", subset=["energy, mJ/token"]
)

# %% [markdown]
# The same tokens in both kinds of issue, layer by layer: pipelined, three users' tokens follow each
# other, while each user's own still wait for the last one.

# %%
hw.run(serial, users=3, **LOAD).plot("pipeline")

# %% [markdown]
# ## If SRAM were no limit
#
# The busiest unit starts a token at best every `critical_cycles`. From so many users on,
# more do not help. The closed forms say what a chip with enough SRAM would do; the power limit of
# the card is part of them, and it is what binds: a card that decodes for one user takes two thirds
# of its limit.

# %%
users = np.arange(1, 65)
figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.5), layout="constrained")
curves = {}
for chip in (serial, pipelined):
    found = hw.predict(chip, users=users, **LOAD)
    name = chip.datapath.issue
    color = ISSUES[name].color
    curves[name] = found
    left.plot(users, found.decode_tokens_per_s_chip / 1e3, color=color, linewidth=2, label=name)
    right.plot(users, found.decode_tokens_per_s_user / 1e3, color=color, linewidth=2, label=name)
left.set(xlabel="users", ylabel="thousand tokens/s, chip", ylim=(0, None), xlim=(1, 64))
right.set(xlabel="users", ylabel="thousand tokens/s, user", ylim=(0, None), xlim=(1, 64))
left.legend(frameon=False, fontsize=9)
for axes in (left, right):
    axes.axvspan(1, 3, color=GRID, zorder=0)
    axes.set_xscale("log", base=2)
    axes.set_xticks([1, 2, 4, 8, 16, 32, 64], [1, 2, 4, 8, 16, 32, 64])
figure.suptitle("Grey: what HC1's SRAM holds, 2,048 tokens each", x=0.01, ha="left", fontsize=10)
plt.show()

# %% [markdown]
# ## What the prompt gains
#
# Also tokens of one prompt can follow each other. That does not need more SRAM.

# %%
drawn_serial, drawn_pipelined = draw_chips(serial), draw_chips(pipelined)
ttft = {}
for name, chip in (("serial", drawn_serial), ("pipelined", drawn_pipelined)):
    ttft[name] = 1e3 * hw.predict(chip, **LOAD).ttft_s
    low, middle, high = np.percentile(ttft[name], [5, 50, 95])
    print(f"{name:10} first token after {middle:6.2f} ms ({low:.2f} … {high:.2f})")

# %% [markdown]
# ## Answer

# %%
one = hw.run(pipelined, users=1, **LOAD)
interval_s = one.critical_cycles / (pipelined.datapath.clock_ghz * 1e9)
rate = curves["pipelined"].decode_tokens_per_s_chip
throttle = curves["pipelined"].power.throttle
full = int(users[np.argmax(rate >= 0.999 * rate.max())])
gain = table.loc[(3, "pipelined"), "tokens/s, chip"] / table.loc[(3, "serial"), "tokens/s, chip"]
alone, three = (
    table.loc[(1, "pipelined"), "tokens/s, user"],
    table.loc[(3, "pipelined"), "tokens/s, user"],
)
print(
    f"With the three users that fit, pipelined issue gives {gain:.1f} times the tokens of the chip "
    f"and each user {three:,.0f} tokens/s, as one alone ({alone:,.0f}).\n"
    f"A token could start every {1e9 * interval_s:.0f} ns ({one.critical_unit} is the busiest "
    f"unit). The card's power limit allows {rate.max():,.0f} tokens/s, which takes {full} users; "
    f"there it leaves {throttle[full - 1]:.0%} of the rate. So SRAM, not the datapath, is what "
    f"holds the chip back.\n"
    f"The first token of 1,024 comes {np.median(ttft['serial'] / ttft['pipelined']):.0f} times "
    "sooner, with any SRAM."
)
