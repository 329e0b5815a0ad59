"""Random chips, models, adapters, requests and loads, small enough for the reference engine."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from hardwire.models import Adapter, Chip, LanguageModel
from hardwire.models.adapter.modules import groups_of
from hardwire.simulator.program import TokenProgram, build_program
from hardwire.simulator.requests import LOAD_MODES, AdapterLoad, Requests

HC1 = Chip.open("hc1")


def language_models() -> st.SearchStrategy[LanguageModel]:
    def build(layers: int, hidden: int, inter: int, group: int, kv: int, head_dim: int,
              vocab: int) -> LanguageModel:  # fmt: skip
        config = {
            "model_type": "llama",
            "num_hidden_layers": layers,
            "hidden_size": hidden,
            "intermediate_size": inter,
            "num_attention_heads": group * kv,
            "num_key_value_heads": kv,
            "head_dim": head_dim,
            "vocab_size": vocab,
            "max_position_embeddings": 4096,
            "tie_word_embeddings": False,
            "hidden_act": "silu",
            "rms_norm_eps": 1e-5,
        }
        return LanguageModel.from_config(config, name="small")

    return st.builds(
        build,
        layers=st.integers(1, 3),
        hidden=st.integers(4, 40),
        inter=st.integers(4, 80),
        group=st.integers(1, 3),
        kv=st.integers(1, 2),
        head_dim=st.sampled_from([2, 4, 8]),
        vocab=st.integers(8, 200),
    )


FAMILIES = ("mistral", "gemma2", "gemma3_text", "mixtral", "qwen3_moe", "gpt_oss", "deepseek_v3")


@st.composite
def families(draw: st.DrawFn) -> LanguageModel:
    """Models with windows, experts, latent attention, caps: layers of one kind or of several."""
    family = draw(st.sampled_from(FAMILIES))
    layers, kv = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    config = {
        "model_type": family,
        "num_hidden_layers": layers,
        "hidden_size": draw(st.integers(4, 40)),
        "intermediate_size": draw(st.integers(4, 60)),
        "num_attention_heads": kv * draw(st.integers(1, 3)),
        "num_key_value_heads": kv,
        "head_dim": draw(st.sampled_from([2, 4, 8])),
        "vocab_size": draw(st.integers(8, 200)),
        "max_position_embeddings": 4096,
        "sliding_window": draw(st.integers(1, 12)),
        "sliding_window_pattern": draw(st.integers(1, 3)),
    }
    if family in ("mixtral", "qwen3_moe", "gpt_oss", "deepseek_v3"):
        groups = draw(st.integers(1, 2)) if family == "deepseek_v3" else 1
        each = draw(st.integers(1, 3))
        config |= {
            "num_experts_per_tok": draw(st.integers(1, each)),
            "moe_intermediate_size": draw(st.integers(2, 20)),
            "n_shared_experts": draw(st.integers(0, 2)),
            "n_group": groups,
            "topk_group": 1,
            "first_k_dense_replace": draw(st.integers(0, layers)),
            "mlp_only_layers": draw(st.lists(st.integers(0, layers - 1), max_size=2)),
        }
        number = "n_routed_experts" if family == "deepseek_v3" else "num_local_experts"
        config[number] = groups * each
    if family == "deepseek_v3":
        config |= {
            "q_lora_rank": draw(st.sampled_from([None, 3, 9])),
            "kv_lora_rank": draw(st.integers(2, 40)),
            "qk_nope_head_dim": draw(st.integers(1, 8)),
            "qk_rope_head_dim": draw(st.sampled_from([2, 4])),
            "v_head_dim": draw(st.integers(1, 8)),
        }
    return LanguageModel.from_config(config, name="small")


def chips() -> st.SearchStrategy[Chip]:
    """HC1 with every parameter that time depends on redrawn; cycles stay in the tens."""
    small = {
        "datapath.lanes": 20,
        "datapath.fill_cycles": 6,
        "datapath.vector_lanes": 20,
        "attention.kv_read_bytes_per_cycle": 20,
        "attention.macs_per_cycle": 20,
        "lora.macs_per_cycle": 60,
        "lora.read_bytes_per_cycle": 60,
        "sampling.loop_cycles": 9,
        "sampling.topk_logits_per_cycle": 50,
        "sram.write_bytes_per_cycle": 9,
    }
    fields: dict[str, st.SearchStrategy] = {
        name: st.integers(1, top) for name, top in small.items()
    }
    fields |= {
        "datapath.outputs_per_pass": st.sampled_from([np.inf, 7, 30]),
        "datapath.layers": st.sampled_from(["distinct", "shared"]),
        "attention.kv_memories": st.sampled_from(["shared", "separate"]),
        "lora.order": st.sampled_from(["parallel", "sequential"]),
        "lora.head": st.sampled_from(["absent", "present"]),
        "formats.kv_bits": st.sampled_from([4, 8, 16]),
        "link.burst_bytes": st.integers(8, 200),
        "link.bandwidth_gb_per_s": st.floats(0.5, 30),
        "link.latency_us": st.floats(0, 0.05),
        "datapath.clock_ghz": st.floats(0.5, 2),
        "datapath.prompt_overlap": st.sampled_from([0, 0, 0.4, 0.5]),
        "sampling.host_us": st.sampled_from([0, 0, 0.007]),
    }
    return st.fixed_dictionaries(fields).map(HC1._replaced)


def targets(chip: Chip, model: LanguageModel | None = None) -> st.SearchStrategy[str]:
    """What an adapter may be on, on a chip."""
    groups = groups_of(model)
    names = [*(name for name in ("all-linear", "qv", "mlp") if name in groups), "o_proj"]
    if model is not None and "experts" in groups:
        names += ["experts", "attention+experts.down_proj"]
    if "qv" not in groups:
        names += ["kv_b_proj", "attention+lm_head" if chip.lora.head == "present" else "attention"]
    elif chip.lora.head == "present":
        names += ["lm_head", "qv+lm_head", "all-linear+lm_head"]
    return st.sampled_from(names)


@st.composite
def runs(
    draw: st.DrawFn,
    loads: bool = True,
    users: int = 4,
    prompt: int = 6,
    output: int = 5,
    models: st.SearchStrategy[LanguageModel] | None = None,
) -> tuple[TokenProgram, Requests, list[AdapterLoad]]:
    """A token program with requests that use its adapters, some of which are being loaded."""
    chip, model = draw(chips()), draw(language_models() if models is None else models)
    shapes = st.tuples(
        st.integers(1, 4),
        targets(chip, model),
        st.sampled_from(["int8", "int4", "float16"]),
    )
    adapters = [
        Adapter.from_shape(f"r{rank}:{on}:{fmt}", model)
        for rank, on, fmt in draw(st.lists(shapes, max_size=2))
    ]
    issue = draw(st.sampled_from(["serial", "pipelined"]))
    program = build_program(chip, model, adapters, issue=issue)
    count = draw(st.integers(1, users))

    def column(values: st.SearchStrategy[int], dtype: type) -> np.ndarray:
        return np.array(draw(st.lists(values, min_size=count, max_size=count)), dtype=dtype)

    # Small numbers of cycles make ties between users and bursts likely, where rules could differ.
    latest = draw(st.sampled_from([0, 3, 400]))
    requests = Requests(
        arrival=column(st.integers(0, latest), np.int64),
        prompt=column(st.integers(1, prompt), np.int64),
        output=column(st.integers(1, output), np.int64),
        adapter=column(st.integers(0, len(adapters)), np.int32),
    )
    started = []
    if loads:
        for number in range(1, len(adapters) + 1):
            if draw(st.booleans()):
                start, mode = draw(st.integers(0, 300)), draw(st.sampled_from(LOAD_MODES))
                started.append(AdapterLoad(number, start, mode))
    return program, requests, started
