"""Execution-driven simulation: the right adapter, for the right token, from the right cycle on."""

from __future__ import annotations

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from strategies import HC1, chips, families, language_models, targets

from hardwire.kernels.decoder.decoder import Decoder
from hardwire.kernels.decoder.kv_cache import Sequence
from hardwire.kernels.decoder.sampling import Sampler
from hardwire.kernels.decoder.side_path import ResidentAdapter, pack_image
from hardwire.models import Adapter, LanguageModel
from hardwire.simulator import execution
from hardwire.simulator.engines import compiled as engine
from hardwire.simulator.execution import execute
from hardwire.simulator.program import TokenProgram, build_program
from hardwire.simulator.requests import LOAD_MODES, AdapterLoad, Requests


def random_images(adapter: Adapter, version: int, fmt: str) -> ResidentAdapter:
    """Images of the shape of ``adapter`` with weights large enough to change every token."""
    rng = np.random.default_rng(version)
    images = {
        (m.layer, m.target): pack_image(
            adapter.base,
            (m.layer, m.target),
            rng.standard_normal((m.rank, m.in_features)),
            rng.standard_normal((m.out_features, m.rank)),
            0.3,
            fmt,
        )
        for m in adapter.modules
    }
    return ResidentAdapter(f"adapter {version}", version, images)


@st.composite
def executions(draw: st.DrawFn) -> tuple:
    model, chip = draw(language_models() | families()), draw(chips())
    shapes = draw(
        st.lists(st.tuples(st.integers(1, 4), targets(chip, model)), min_size=1, max_size=3)
    )
    adapters = [Adapter.from_shape(f"r{rank}:{on}:int8", model) for rank, on in shapes]
    program = build_program(
        chip, model, adapters, issue=draw(st.sampled_from(["serial", "pipelined"]))
    )
    users = draw(st.integers(1, 4))
    seed = draw(st.integers(0, 2**16))
    rng = np.random.default_rng(seed)
    requests = Requests(
        arrival=rng.integers(0, draw(st.sampled_from([1, 500])), users),
        prompt=rng.integers(1, 6, users),
        output=rng.integers(1, 6, users),
        adapter=rng.integers(0, len(adapters) + 1, users).astype(np.int32),
    )
    loads = [
        AdapterLoad(row, int(rng.integers(0, 400)), str(rng.choice(LOAD_MODES)))
        for row in range(1, len(adapters) + 1)
        if rng.random() < 0.6
    ]
    prompts = [rng.integers(0, model.vocab, n).tolist() for n in requests.prompt]
    return program, requests, loads, prompts, seed


@examples(25)
@given(executions())
def test_every_token_computes_what_it_would_alone(case: tuple) -> None:
    """Any mix of requests, adapters and swaps gives the logits of each request run by itself."""
    program, requests, loads, prompts, seed = case
    decoder = Decoder.random(program.model, seed)
    images = [random_images(a, n + 1, "int8") for n, a in enumerate(program.adapters)]
    samplers = [Sampler(5, 0.8, user) for user in range(requests.users)]
    run = execute(program, requests, loads, decoder, images, prompts, samplers)
    for user, prompt in enumerate(prompts):
        row = int(requests.adapter[user])
        held = images[row - 1] if row else None
        text = [*prompt, *run.tokens[user][:-1].tolist()]
        alone = alone_logits(decoder, text, held)[len(prompt) - 1 :]
        np.testing.assert_array_equal(run.logits[user], alone)
        again = Sampler(5, 0.8, user)
        assert run.tokens[user].tolist() == [again.draw(scores) for scores in alone]
        mine = slice(run.timeline.first[user], run.timeline.first[user + 1])
        assert (run.versions[mine] == row).all()
    assert decoder.cache.pages_in_use == 0


def alone_logits(decoder: Decoder, text: list[int], adapter: ResidentAdapter | None) -> np.ndarray:
    sequence = Sequence()
    rows = [decoder.step([token], [sequence], [adapter])[0] for token in text]
    decoder.cache.release(sequence)
    return np.stack(rows)


def small() -> tuple[TokenProgram, Decoder, ResidentAdapter]:
    model = LanguageModel.from_config(
        {
            "model_type": "llama", "num_hidden_layers": 3, "hidden_size": 16,
            "intermediate_size": 24, "num_attention_heads": 2, "num_key_value_heads": 1,
            "head_dim": 8, "vocab_size": 30, "max_position_embeddings": 64,
            "tie_word_embeddings": False, "hidden_act": "silu", "rms_norm_eps": 1e-5,
        },
        name="small",
    )  # fmt: skip
    adapter = Adapter.from_shape("r2:all-linear:int8", model)
    program = build_program(HC1, model, [adapter])
    return program, Decoder.random(model, 1), random_images(adapter, 7, "int8")


def test_a_token_that_overtakes_its_slice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the engine's gate broken, the run would end here and not give wrong tokens."""
    program, decoder, images = small()
    requests = Requests.uniform(1, 2, 2, 1)
    loads = [AdapterLoad(1, 0, "streamed")]
    honest = engine.simulate

    def without_gate(*args: object, **options: object) -> object:
        late = honest(*args, **options)  # type: ignore[arg-type]
        late.slice_done[:] += 10**9
        return late

    monkeypatch.setattr(execution.engine, "simulate", without_gate)
    with pytest.raises(RuntimeError, match="before its slice was in SRAM"):
        execute(program, requests, loads, decoder, [images], [[1, 2]])
    assert decoder.cache.pages_in_use == 0


def test_an_adapter_changes_the_tokens() -> None:
    program, decoder, images = small()
    outcomes = [
        execute(program, Requests.uniform(1, 3, 8, row), [], decoder, [images], [[1, 2, 3]])
        for row in (0, 1)
    ]
    assert not np.array_equal(outcomes[0].logits[0], outcomes[1].logits[0])
    assert set(outcomes[0].versions) == {0} and set(outcomes[1].versions) == {7}


def test_what_does_not_belong_together_is_refused() -> None:
    program, decoder, images = small()
    requests = Requests.uniform(1, 2, 2, 1)
    with pytest.raises(ValueError, match="adapters are in the program"):
        execute(program, requests, [], decoder, [], [[1, 2]])
    with pytest.raises(ValueError, match="prompts have"):
        execute(program, requests, [], decoder, [images], [[1]])
    other = Adapter.from_shape("r3:all-linear:int8", program.model)
    with pytest.raises(ValueError, match="not the adapter"):
        execute(program, requests, [], decoder, [random_images(other, 1, "int8")], [[1, 2]])
    with pytest.raises(ValueError, match="program's model is another"):
        bigger = Decoder.random(LanguageModel.from_config(
            {
                "model_type": "llama", "num_hidden_layers": 1, "hidden_size": 16,
                "intermediate_size": 24, "num_attention_heads": 2, "num_key_value_heads": 1,
                "head_dim": 8, "vocab_size": 30, "max_position_embeddings": 64,
                "tie_word_embeddings": False, "hidden_act": "silu", "rms_norm_eps": 1e-5,
            },
            name="other",
        ), 1)  # fmt: skip
        execute(program, requests, [], bigger, [images], [[1, 2]])
