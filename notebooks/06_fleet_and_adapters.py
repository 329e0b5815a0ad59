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
# # A fleet and its adapters
#
# A service has many adapters and a trace of requests, each for one of them. How does a server of
# ten HC1 cards take it, and how many GPUs with vLLM does the same service need?
#
# The load has the lengths of the Azure conversation trace at its own rate, 5.5 requests/s, with
# adapters of rank 16 asked for equally often. A service is good when 99% of the requests get their
# first token within 0.5 s and then a token every 50 ms.

# %%
import matplotlib.pyplot as plt
import pandas as pd

import hardwire as hw
from hardwire.experiments.shared.style import INK, SERVERS, STYLE

plt.rcParams.update(STYLE)
RATE, SLO, GOOD = 5.5, {"ttft": 0.5, "tpot": 0.05}, 0.99


def serve(server, adapters, rate=RATE, slots=None):
    """The numbers of one replay with so many adapters of rank 16."""
    done = hw.replay(
        "azure-conv", server, adapters=adapters, popularity="uniform", rate=rate, requests=1200,
        arrivals="poisson", slots=slots, slo=SLO,
    )  # fmt: skip
    return done.summary


# %% [markdown]
# ## Ten HC1 cards
#
# The number of adapters hardly matters: an adapter that is not in SRAM is streamed in from host
# memory in under 2 ms, while the prompt takes tens of milliseconds.

# %%
COUNTS = (1, 4, 16, 64, 256)
rows = []
for server in ("hc1x10", "hc1x10-pipelined"):
    for count in COUNTS:
        found = serve(server, count)
        rows.append(
            {
                "server": server,
                "adapters": count,
                "met the SLO": found["slo_met"],
                "TTFT p50, ms": 1e3 * found["ttft_s"]["p50"],
                "TTFT p99, ms": 1e3 * found["ttft_s"]["p99"],
                "hit rate": found["adapter_hit_rate"],
                "swaps": found["swaps"],
                "busy": found["utilization"]["compute"]["mean"],
                "power, W": found["server_power_w"],
            }
        )
cards = pd.DataFrame(rows).set_index(["server", "adapters"])
cards.style.format("{:.1f}").format("{:.1%}", subset=["met the SLO", "hit rate", "busy"]).format(
    "{:,.0f}", subset=["swaps", "power, W"]
)

# %% [markdown]
# ## How many GPUs
#
# Adapters and load are split evenly over *k* H100s; each has the number of adapter slots that suits
# it best. The smallest *k* that is good is what the service needs.

# %%
SLOTS = (8, 16, 32, 64)


def gpu(adapters, rate):
    """The best of the slot counts of one H100."""
    useful = [slots for slots in SLOTS if slots < 2 * adapters or slots == SLOTS[0]]
    runs = [(serve("vllm-h100", adapters, rate, slots), slots) for slots in useful]
    return max(runs, key=lambda run: run[0]["slo_met"])


rows = []
for count in COUNTS:
    for gpus in range(1, 9):
        each, slots = gpu(-(-count // gpus), RATE / gpus)
        if each["slo_met"] >= GOOD:
            break
    rows.append(
        {
            "adapters": count,
            "one GPU meets the SLO": gpu(count, RATE)[0]["slo_met"],
            "GPUs needed": gpus,
            "slots of each": slots,
            "power of all, W": gpus * each["server_power_w"],
        }
    )
gpus = pd.DataFrame(rows).set_index("adapters")
gpus.style.format({"one GPU meets the SLO": "{:.1%}", "power of all, W": "{:,.0f}"})

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.5), layout="constrained")
ticks = range(len(COUNTS))
for name, size in (("hc1x10", 10), ("hc1x10-pipelined", 5)):  # they coincide
    mark = {**SERVERS[name]._asdict(), "markersize": size}
    left.plot(ticks, 100 * cards.loc[name, "met the SLO"], **mark, label=name)
    right.plot(ticks, cards.loc[name, "power, W"] / 1e3, **mark)
mark = SERVERS["vllm-h100"]._asdict()
left.plot(ticks, 100 * gpus["one GPU meets the SLO"], **mark, label="one H100, vLLM")
right.plot(ticks, gpus["power of all, W"] / 1e3, **mark, linestyle="--", label="H100s needed")
right.axhline(2.5, color=INK, linestyle=":", label="ten cards, as published")
left.set(ylabel="requests that met the SLO, %", ylim=(0, 104))
right.set(ylabel="power, kW", ylim=(0, None))
for axes in (left, right):
    axes.set_xticks(ticks, COUNTS)
    axes.set_xlabel("adapters")
left.legend(frameon=False, fontsize=9, loc="lower left")
right.legend(frameon=False, fontsize=9, loc="best")
plt.show()

# %% [markdown]
# ## Answer
#
# The power of ten cards at full load is modelled near the 2.5 kW that the vendor publishes. More,
# with intervals and cost, is in the serving study of the manual.

# %%
most = COUNTS[-1]
watts = cards["power, W"].max()
of_gpus = gpus["power of all, W"]


def from_count(limit_w):
    """The number of adapters from which on the GPUs take more than the cards."""
    above = [count for count in COUNTS if of_gpus[count] > limit_w]
    return f"from {above[0]} adapters on" if above else "nowhere here"


print(
    f"Ten HC1 cards are good with any number of adapters up to {most}: "
    f"{cards.loc[('hc1x10', most), 'met the SLO']:.1%} of the requests meet the SLO there. "
    f"They are busy {cards.loc[('hc1x10', most), 'busy']:.0%} of the time.\n"
    f"One H100 is good up to {max(gpus.index[gpus['GPUs needed'] == 1])} adapters; {most} need "
    f"{gpus.loc[most, 'GPUs needed']} H100s.\n"
    f"Ten cards take less power than the GPUs {from_count(watts)} as modelled ({watts:,.0f} W), "
    f"{from_count(2500)} as published (2,500 W)."
)
