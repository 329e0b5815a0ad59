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
# # Several dies
#
# One HC1 holds 8 billion weights, and everyone's next question is 70. How many dies does that take,
# how should the model lie on them, and what would other links or more users change?

# %%
from dataclasses import replace

import pandas as pd

import hardwire as hw
from hardwire.models.system.link import LinkKind

MODEL, LOAD = "llama-3.1-70b", {"prompt": 1024, "output": 1024}

# %% [markdown]
# ## The placements that fit
#
# A pipeline of dies with whole layers, or stages on groups of dies that share each matrix. A group
# is faster for one user, since its dies work on a layer together; it pays with sums over links in
# every layer, and with attention and vector units on each of its dies.

# %%
planned = hw.plan(MODEL, "hc1", "board", objective="rate", **LOAD)
fewest = planned.to_frame().sort_values("dies").drop_duplicates("dies_of_a_stage")
fewest.set_index("dies_of_a_stage").style.format("{:,.0f}").format(
    "{:.4f}", subset=["usd_per_million_tokens"]
)

# %% [markdown]
# ## The fewest dies

# %%
pipeline = min(planned.options, key=lambda one: one.dies).system
hw.run_system(pipeline, users=8, **LOAD).plot()

# %% [markdown]
# ## What if the links were others?
#
# A pipeline hands one vector from die to die, a group exchanges two in every layer. So links hardly
# matter to the one, and decide about the other.


# %%
def linked(system: hw.System, name: str) -> hw.System:
    """The same dies and placement with links of another kind."""
    kind = LinkKind.open(name)
    return replace(system, links=tuple(replace(link, kind=kind) for link in system.links))


rows = []
for link in ("ucie", "board", "cable", "cxl", "nvlink"):
    for layout, system in (("pipeline", pipeline), ("groups", planned.system)):
        found = hw.run_system(linked(system, link), **LOAD)
        share = found.unlimited.latency_s["link_latency"] / found.unlimited.token_s
        rows.append(
            {
                "link": link,
                "layout": layout,
                "dies": found.dies,
                "tokens/s, user": found.decode_tokens_per_s_user,
                "on links": float(share),
                "links at rest, W": sum(found.power.link_idle_w.values()),
            }
        )
links = pd.DataFrame(rows).set_index(["link", "layout"])
links.style.format("{:,.0f}").format("{:.1%}", subset=["on links"])

# %% [markdown]
# ## What if more users came?
#
# Stages work on tokens of different users. Power at rest is the same for one user and for eight.

# %%
rows = []
for users in (1, 2, 4, 8):
    found = hw.run_system(pipeline, users=users, **LOAD)
    rate = found.decode_tokens_per_s_system
    rows.append(
        {
            "users": users,
            "tokens/s, user": found.decode_tokens_per_s_user,
            "tokens/s, system": rate,
            "power, W": found.power_w,
            "at rest": found.power.idle_share(rate),
            "mJ/token": 1e3 * found.energy_j_per_token,
            "USD/M tokens": found.usd_per_million_tokens,
        }
    )
served = pd.DataFrame(rows).set_index("users")
served.style.format("{:,.0f}").format("{:.0%}", subset=["at rest"]).format(
    "{:.4f}", subset=["USD/M tokens"]
)

# %% [markdown]
# ## Answer

# %%
alone, full = served.loc[1], served.loc[8]
best = links["tokens/s, user"].idxmax()
worst = links.xs("groups", level="layout")["tokens/s, user"].idxmin()
print(
    f"{len(pipeline.dies)} dies hold {MODEL} and give one user {alone['tokens/s, user']:,.0f} "
    f"tokens/s at {alone['power, W']:,.0f} W, of which {alone['at rest']:.0%} is there without a "
    f"token. Eight users take {full['mJ/token']:.0f} instead of {alone['mJ/token']:.0f} mJ a "
    "token.\n"
    f"Groups of dies are faster, and most so over {best[0]}: "
    f"{links.loc[best, 'tokens/s, user']:,.0f} tokens/s for one user; over {worst} they give "
    f"{links.loc[(worst, 'groups'), 'tokens/s, user']:,.0f}."
)
