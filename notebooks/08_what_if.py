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
# # What if?
#
# Every row below is a parameter of the chip or of its load: move its slider or type a value. Rate,
# breakdown, SRAM and power are drawn again. The dashed line over the rates is the 17,000 tokens/s
# that the vendor states; the red point is the design as set.
#
# A slider goes from half the low end to twice the high end of what the chip file believes of the
# parameter. *As filed* puts all back. All numbers are those of `hw.predict`: closed form,
# no interval. For intervals and the engines run `hardwire run --set NAME=VALUE`.

# %%
from IPython.display import display

import hardwire as hw
from hardwire.experiments.run.whatif_widget import WhatIf

display(WhatIf("hc1"))

# %% [markdown]
# Things to try:
#
# - **Users.** With two users each gets half the rate: HC1 has one token in flight. Set *Issue* to
#   `pipelined` and both get the whole rate.
# - **Rank.** Every rank costs time: a side path hears what the ROM pass hears and ends after it.
#   Type 35 at *LoRA activations*, a bus of its own, and rank 16 is free; the blocks then need
#   a little more than the die.
# - **Prompt and output.** The KV cache grows by 68 KiB a token, until the design does not fit; the
#   sentence in red says what would.
# - **Lanes and clock.** More lanes make the ROM pass shorter and the die larger; a faster clock
#   makes everything shorter and the card hotter.
#
# The same from code, here with a port twice as wide for the KV cache and multipliers to match:

# %%
chip = hw.Chip.open("hc1")
wider = chip.with_values(
    {"attention.kv_read_bytes_per_cycle": 16384, "attention.macs_per_cycle": 65536}
)
for name, design in (("as filed", chip), ("KV port doubled", wider)):
    found = hw.predict(design, prompt=1024, output=1024)
    rate, area = found.decode_tokens_per_s_user, found.area_mm2["total"]
    print(f"{name:16}{rate:8,.0f} tokens/s{found.power_w:6.0f} W{area:7.0f} mm² of blocks")
