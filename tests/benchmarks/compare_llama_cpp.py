"""Prefill and decode of one user beside llama.cpp's Q4_0: Llama 3.1 8B's shape, random weights.

    pip install llama-cpp-python        # built from source for this machine, takes minutes
    python tests/benchmarks/compare_llama_cpp.py --layers 32 --threads 2
    python tests/benchmarks/compare_llama_cpp.py --layers 2 --threads 1 --processor-time

Both sides have every matrix at 4 bits with one float16 scale per 32 weights, the LM head included
(llama.cpp's own files have 6 bits there, which would be slower), and a 16-bit KV cache. They take
turns in one process, because a shared machine's speed drifts: a round is a prompt, and then some
tokens, of each, and the ratio is the median of the rounds' ratios. A prompt begins an empty
sequence and ends with the logits of its last token. The read bandwidth is timed in each round too.
Whole, it takes about 14 GB of memory and 5 GB in the temporary folder.
"""

import argparse
import dataclasses
import sys
import tempfile
import time
from pathlib import Path

import numba
import numpy as np
from test_rom_bench import read

from hardwire.kernels.decoder.decoder import Decoder
from hardwire.kernels.decoder.kv_cache import Sequence
from hardwire.models.language_model import LanguageModel

MODEL = "llama-3.1-8b"
GROUP, BLOCK_BYTES = 32, 18  # of Q4_0: a float16 scale, then 32 codes of 4 bits
SCALE = 0.02 / 4.61  # uniform codes -8 ... 7 have a standard deviation of 4.61
NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
"""Tensors of a layer: Hugging Face's names, and those of GGUF."""


def gguf_name(name):
    """A tensor's name in GGUF."""
    top = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    stem = name.removesuffix(".weight")
    if stem in top:
        return f"{top[stem]}.weight"
    _, _, layer, part = stem.split(".", 3)
    return f"blk.{layer}.{NAMES[part]}.weight"


def random_blocks(rng, shape):
    """A matrix of Q4_0 blocks: random codes, one scale."""
    rows, columns = shape
    blocks = np.empty((rows, columns // GROUP, BLOCK_BYTES), np.uint8)
    blocks[..., :2] = np.frombuffer(np.float16(SCALE).tobytes(), np.uint8)
    blocks[..., 2:] = np.frombuffer(rng.bytes(blocks[..., 2:].size), np.uint8).reshape(
        blocks[..., 2:].shape
    )
    return blocks.reshape(rows, -1)


def write_gguf(path, model):
    """A GGUF file of the model's shape, with a vocabulary of dummy words."""
    import gguf

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(model.max_position)
    writer.add_embedding_length(model.hidden)
    writer.add_block_count(model.layers)
    writer.add_feed_forward_length(model.intermediate)
    writer.add_head_count(model.heads)
    writer.add_head_count_kv(model.kv_heads)
    writer.add_rope_dimension_count(model.head_dim)
    writer.add_rope_freq_base(500000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(model.vocab)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)
    writer.add_tokenizer_model("llama")
    special = [b"<unk>", b"<s>", b"</s>"]
    words = special + [b"w%d" % i for i in range(model.vocab - len(special))]
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    kinds += [gguf.TokenType.NORMAL] * (model.vocab - len(special))
    writer.add_token_list(words)
    writer.add_token_scores([0.0] * model.vocab)
    writer.add_token_types(kinds)
    # Announced first and written one by one, so that no more than one is in memory.
    shapes = {gguf_name(name): shape for name, shape in model.tensors().items()}
    for name, shape in shapes.items():
        if len(shape) == 1:
            size = 4 * shape[0]
            writer.add_tensor_info(name, shape, np.dtype(np.float32), size)
        else:
            stored = (shape[0], shape[1] // GROUP * BLOCK_BYTES)
            writer.add_tensor_info(
                name,
                stored,
                np.dtype(np.uint8),
                stored[0] * stored[1],
                gguf.GGMLQuantizationType.Q4_0,
            )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    rng = np.random.default_rng(0)
    for shape in shapes.values():
        one = len(shape) == 1
        writer.write_tensor_data(np.ones(shape, np.float32) if one else random_blocks(rng, shape))
    writer.close()


def compare(layers, threads, prompt, tokens, rounds, clock):
    """Time both by a clock and print one table."""
    from llama_cpp import Llama

    model = dataclasses.replace(LanguageModel.by_name(MODEL), layers=layers)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "random.gguf"
        write_gguf(path, model)
        theirs = Llama(
            str(path),
            n_ctx=prompt + tokens,
            n_batch=prompt,
            n_threads=threads,
            n_threads_batch=threads,
            use_mmap=False,
            verbose=False,
        )
    decoder = Decoder.random(model, 0, "rom4", kv_bits=16, threads=threads)
    matrices = [m for layer in decoder.base.layers for m in layer.matrices.values()]
    size = sum(matrix.nbytes for matrix in (*matrices, decoder.base.head))
    values = np.ones(size // 8, np.int64)
    ids = np.random.default_rng(1).integers(3, model.vocab, prompt + tokens).tolist()
    sequence = Sequence()

    def seconds(function, *arguments):
        begin = clock()
        function(*arguments)
        return clock() - begin

    def hardwire_prompt():
        decoder.cache.release(sequence)
        batch, x = decoder.begin(ids[:prompt], [sequence] * prompt, [None] * prompt)
        for layer in range(layers):
            x = decoder.layer(layer, x, batch)
        decoder.head(x[-1:], [None])

    def llama_cpp_prompt():
        theirs.reset()
        theirs.eval(ids[:prompt])

    def hardwire():
        for token in ids[prompt:]:
            decoder.step([token], [sequence], [None])

    def llama_cpp():
        for token in ids[prompt:]:
            theirs.eval([token])

    numba.set_num_threads(threads)
    ways = hardwire_prompt, llama_cpp_prompt, hardwire, llama_cpp
    for way in ways:  # compiled, and in memory, before it is timed
        way()
    read(values, threads)
    times = np.array([[*map(seconds, ways), seconds(read, values, threads)] for _ in range(rounds)])
    times /= [prompt, prompt, tokens, tokens, 1]
    print(f"{MODEL}, {layers} layers, {size / 1e9:.2f} GB of matrices, {threads} thread(s),")
    print(f"median of {rounds} rounds of a prompt of {prompt} tokens and {tokens} more")
    print(f"{'':28}{'ms/token':>10}{'tokens/s':>10}{'best':>8}{'GB/s':>8}")
    names = ("Hardwire, prompt", "llama.cpp, prompt", "Hardwire, decode", "llama.cpp, decode")
    for name, column in zip((*names, "one read of the bytes"), times.T, strict=True):
        time_s, best = np.median(column), column.min()
        rate = "" if "prompt" in name else f"{size / time_s / 1e9:.1f}"
        print(f"{name:28}{time_s * 1e3:>10.2f}{1 / time_s:>10.2f}{1 / best:>8.2f}{rate:>8}")
    for what, ours, other in (("prompt", 0, 1), ("decode", 2, 3)):
        low, ratio, high = np.quantile(times[:, other] / times[:, ours], [0.1, 0.5, 0.9])
        best = times[:, other].min() / times[:, ours].min()
        print(
            f"{what}: Hardwire {ratio:.2f} times llama.cpp (10 to 90% of rounds: {low:.2f} to"
            f" {high:.2f}; best of each: {best:.2f})"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=8, help="of the 32 (default 8)")
    parser.add_argument("--threads", type=int, default=2, help="of each side (default 2)")
    parser.add_argument("--prompt", type=int, default=512, help="tokens of it (default 512)")
    parser.add_argument("--tokens", type=int, default=8, help="after a prompt (default 8)")
    parser.add_argument("--rounds", type=int, default=12, help="(default 12)")
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="of the one thread, where other programs take the processors, in place of wall time",
    )
    options = vars(parser.parse_args())
    clock = time.thread_time if options.pop("processor_time") else time.perf_counter
    if min(options.values()) < 1:
        parser.error("every number is at least 1")
    if clock is time.thread_time and options["threads"] > 1:
        parser.error("--processor-time is that of one thread: --threads 1")
    try:
        import gguf  # noqa: F401
        import llama_cpp  # noqa: F401
    except ImportError as error:
        print(f"{error.name} is missing: pip install llama-cpp-python gguf", file=sys.stderr)
        return 2
    compare(**options, clock=clock)
    return 0


if __name__ == "__main__":
    sys.exit(main())
