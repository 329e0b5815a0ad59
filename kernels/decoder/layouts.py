"""How checkpoint files hold a model's tensors: one by one, or experts fused, transposed, quantized.

A model's own tensors (`own_tensors`) are the matrices and vectors that it computes with: each
expert's by itself, under the names of transformers' linear layers. A file may hold them

- as they are;
- under Mixtral's names (`block_sparse_moe`, `w1`, `w2`, `w3`);
- with all experts of a layer in one tensor, gate and up in one, as transformers 5 has them in
  memory: gate above up, and in gpt-oss (in_features, out_features) with gate and up in turn;
- as gpt-oss is published: blocks and scales of MXFP4, rows of gate and up in turn;
- as DeepSeek V3 is: FP8 with a scale for each tile of 128 by 128.

Sources: the published checkpoints, and transformers' `conversion_mapping` and `modeling_gpt_oss`.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hardwire.kernels.decoder.float8 import from_e4m3
from hardwire.kernels.decoder.mxfp4 import from_mxfp4
from hardwire.models.adapter.files import FLOATS, StoredTensor
from hardwire.models.errors import InputError
from hardwire.models.language_model import EXPERT, MLP_TARGETS, Experts, LanguageModel, module_path
from hardwire.models.llm.tensors import FP8_TILE, MXFP4_BLOCK

DTYPES = (*FLOATS, "U8", "F8_E4M3")
"""Types of a checkpoint's tensors."""

_SCALES = "_scale_inv"
_FP8_NAN, _MXFP4_NAN = 0x7F, 0xFF  # the code, but for its sign, and the scale that are none
_OF_MIXTRAL = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}


_Rows: TypeAlias = tuple[int, int | None, int]
_DOWN: dict[str, _Rows] = {"down_proj": (0, None, 1)}


@dataclass(frozen=True)
class Part:
    """A tensor of the model inside of one of the file.

    Attributes
    ----------
    expert
        Which element of the first dimension; None for all.
    rows
        Which rows of it: first, end and step.
    turned
        Whether the file has the matrix transposed, so that its rows are columns there.
    """

    expert: int | None = None
    rows: _Rows = (0, None, 1)
    turned: bool = False


@dataclass(frozen=True)
class Layout:
    """A tensor that a file may hold: its shape and type there, and what is in it.

    `scales` names the tensor that has the scales of MXFP4 or FP8.
    """

    shape: tuple[int, ...]
    parts: Mapping[str, Part]
    dtypes: tuple[str, ...] = FLOATS
    scales: str | None = None


def own_tensors(model: LanguageModel) -> dict[str, tuple[int, ...]]:
    """Name and shape of every matrix and vector that a model computes with."""
    experts = model.experts
    if experts is None:
        return dataclasses.replace(model, quantized=None).tensors()
    each = dataclasses.replace(experts, stored="each")
    own = dataclasses.replace(model, quantized=None, experts=each).tensors()
    if experts.router_bias:
        for kind in model.layer_kinds:
            for layer, expert in itertools.product(
                kind.layers if kind.experts else (), range(experts.count)
            ):
                for target in MLP_TARGETS:
                    path = module_path(layer, f"{EXPERT}{expert}.{target}")
                    own[f"{path}.bias"] = own[f"{path}.weight"][:1]
    return own


def layouts(model: LanguageModel) -> dict[str, Layout]:
    """Every tensor that a file may hold, by its name there; several may hold the same."""
    own = own_tensors(model)
    found = {name: Layout(shape, {name: Part()}) for name, shape in own.items()}
    for scales, tiles in model.tensors().items() if model.quantized == "fp8" else ():
        if scales.endswith(_SCALES):
            name = scales.removesuffix(_SCALES)
            found[name] = Layout(own[name], {name: Part()}, (*FLOATS, "F8_E4M3"), scales)
            found[scales] = Layout(tiles, {})
    for kind in model.layer_kinds:
        for layer in kind.layers if kind.experts else ():
            found |= _of_experts(model, f"model.layers.{layer}")
    return found


def _of_experts(model: LanguageModel, prefix: str) -> dict[str, Layout]:
    """Other ways than one by one to hold the router and the experts of a layer."""
    experts = model.experts
    assert experts is not None
    width, hidden, base = experts.intermediate, model.hidden, f"{prefix}.mlp.experts"
    if experts.stored == "fused":
        return _in_turn(experts, hidden, prefix)
    above: dict[str, _Rows] = {"gate_proj": (0, width, 1), "up_proj": (width, None, 1)}
    found = {
        f"{base}.gate_up_proj": _of_all(experts, base, above, (2 * width, hidden)),
        f"{base}.down_proj": _of_all(experts, base, _DOWN, (hidden, width)),
    }
    if experts.stored == "w123":
        moe = f"{prefix}.block_sparse_moe"
        gate = Layout((experts.count, hidden), {f"{prefix}.mlp.gate.weight": Part()})
        found[f"{moe}.gate.weight"] = gate
        for expert, (short, target) in itertools.product(range(experts.count), _OF_MIXTRAL.items()):
            parts = {f"{base}.{expert}.{target}.weight": Part()}
            one = Layout(model.linear_shape(EXPERT + target), parts)
            found[f"{moe}.experts.{expert}.{short}.weight"] = one
    return found


def _in_turn(experts: Experts, hidden: int, prefix: str) -> dict[str, Layout]:
    """As gpt-oss has them."""
    base, count, width = f"{prefix}.mlp.experts", experts.count, experts.intermediate
    found = {}
    for what, shape in (("weight", (count, hidden)), ("bias", (count,))):
        found[f"{prefix}.mlp.router.{what}"] = Layout(shape, {f"{prefix}.mlp.gate.{what}": Part()})
    turns: dict[str, _Rows] = {"gate_proj": (0, None, 2), "up_proj": (1, None, 2)}
    for name, parts, rows, columns in (
        ("gate_up_proj", turns, 2 * width, hidden),
        ("down_proj", _DOWN, hidden, width),
    ):
        full = f"{base}.{name}"
        found[full] = _of_all(experts, base, parts, (columns, rows), turned=True)
        found[f"{full}_bias"] = _of_all(experts, base, parts, (rows,), "bias")
        blocks, scales = columns // MXFP4_BLOCK, f"{full}_scales"
        packed = _of_all(experts, base, parts, (rows, blocks, MXFP4_BLOCK // 2))
        found[f"{full}_blocks"] = dataclasses.replace(packed, dtypes=("U8",), scales=scales)
        found[scales] = Layout((count, rows, blocks), {}, ("U8",))
    return found


def _of_all(
    experts: Experts,
    base: str,
    rows: Mapping[str, _Rows],
    shape: tuple[int, ...],
    what: str = "weight",
    *,
    turned: bool = False,
) -> Layout:
    """One tensor of all experts, each with a shape, that has some rows of each target."""
    parts = {
        f"{base}.{expert}.{target}.{what}": Part(expert, own, turned)
        for expert, (target, own) in itertools.product(range(experts.count), rows.items())
    }
    return Layout((experts.count, *shape), parts)


@dataclass(frozen=True)
class Piece:
    """A tensor of the model where it lies.

    Attributes
    ----------
    tensor, part
        The tensor of the file, and what of it.
    scales
        Of quantized ones.
    """

    tensor: StoredTensor
    part: Part
    scales: StoredTensor | None = None

    def read(self, begin: int, end: int) -> NDArray[np.float32]:
        """Some consecutive rows, of a vector elements, in float32.

        Raises
        ------
        InputError
            If they hold an infinity or NaN, or the file has changed since it was opened.
        """
        stored, rows = _element(self.tensor, self.part.expert), slice(*self.part.rows)
        if self.part.turned:
            stored.check_finite()
            return np.ascontiguousarray(stored.read()[:, rows][:, begin:end].T)
        chosen = range(*rows.indices(stored.shape[0]))[begin:end]
        first, last = chosen[0], chosen[-1] + 1
        around = _rows(stored, first, last)
        if stored.dtype in FLOATS:
            around.check_finite()
            return around.read()[:: chosen.step]
        assert self.scales is not None
        scales = _element(self.scales, self.part.expert)
        codes = around.codes()
        if stored.dtype == "U8":
            powers = _rows(scales, first, last).codes()
            values = from_mxfp4(codes[:: chosen.step], powers[:: chosen.step])
            sound = not np.any(powers == _MXFP4_NAN) and bool(np.isfinite(values).all())
        else:
            tiles = scales.read()[np.arange(first, last) // FP8_TILE]
            wide = tiles.repeat(FP8_TILE, axis=1)[:, : codes.shape[1]]
            values = from_e4m3(codes.view(np.int8)) * wide
            sound = not np.any(codes & 0x7F == _FP8_NAN) and bool(np.isfinite(values).all())
        if not sound:
            raise InputError(
                f"{stored.path}: {stored.name}: holds values that are not finite numbers"
            )
        return values


def _element(tensor: StoredTensor, index: int | None) -> StoredTensor:
    """One element of a tensor's first dimension; None for the tensor itself."""
    if index is None:
        return tensor
    size = tensor.size // tensor.shape[0]
    place = tensor.offset + index * size
    return dataclasses.replace(tensor, shape=tensor.shape[1:], offset=place, size=size)


def _rows(tensor: StoredTensor, begin: int, end: int) -> StoredTensor:
    size = tensor.size // tensor.shape[0]
    shape, place = (end - begin, *tensor.shape[1:]), tensor.offset + begin * size
    return dataclasses.replace(tensor, shape=shape, offset=place, size=(end - begin) * size)
