"""The ROM matrices of a model: what is cast in silicon, grouped as the datapath visits it."""

from __future__ import annotations

from dataclasses import dataclass

from hardwire.models.language_model import HEAD, LanguageModel


@dataclass(frozen=True)
class RomMatrix:
    """Matrices that share one broadcast of their input.

    ``targets`` are the PEFT names of the linear layers inside, in the order of their outputs.
    """

    name: str
    in_features: int
    out_features: int
    targets: tuple[str, ...]

    @property
    def weights(self) -> int:
        return self.in_features * self.out_features


def layer_matrices(model: LanguageModel) -> tuple[RomMatrix, ...]:
    """The four matrix groups of one decoder layer, in order of execution."""
    q_width = model.heads * model.head_dim
    kv_width = model.kv_heads * model.head_dim
    return (
        RomMatrix("qkv", model.hidden, q_width + 2 * kv_width, ("q_proj", "k_proj", "v_proj")),
        RomMatrix("o", q_width, model.hidden, ("o_proj",)),
        RomMatrix("gate_up", model.hidden, 2 * model.intermediate, ("gate_proj", "up_proj")),
        RomMatrix("down", model.intermediate, model.hidden, ("down_proj",)),
    )


def head_matrix(model: LanguageModel) -> RomMatrix:
    """The LM head."""
    return RomMatrix(HEAD, model.hidden, model.vocab, (HEAD,))
