"""The low-rank pairs of an adapter, and what a user may call the layers beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hardwire.models.adapter.config import Place
from hardwire.models.catalogue import did_you_mean
from hardwire.models.errors import InputError
from hardwire.models.language_model import (
    ADAPTABLE,
    EXPERT,
    FUSED,
    HEAD,
    LATENT_TARGETS,
    MLP_TARGETS,
    SHARED,
    TARGETS,
    LanguageModel,
)

_GROUPS = {
    "all-linear": TARGETS,
    "attention": TARGETS[:4],
    "mlp": TARGETS[4:],
    "qv": ("q_proj", "v_proj"),
}
_OTHERS = {
    "attention": LATENT_TARGETS,
    "experts": tuple(EXPERT + target for target in MLP_TARGETS),
}

_ANY = (
    *ADAPTABLE,
    *LATENT_TARGETS[:-1],  # o_proj is in both
    *(SHARED + target for target in MLP_TARGETS),
    *_OTHERS["experts"],
    FUSED,
)
"""The linear layers of all families."""


@dataclass(frozen=True)
class LowRankModule:
    """The low-rank pair beside one linear layer: ``y = W x + scale * B (A x)``.

    ``A`` is ``(rank, in_features)``, ``B`` is ``(out_features, rank)``. ``layer`` is the decoder
    layer; the LM head counts as the one behind the last.
    """

    layer: int
    target: str
    rank: int
    in_features: int
    out_features: int
    scale: float

    @property
    def parameters(self) -> int:
        """Weights of A and B together."""
        return self.rank * (self.in_features + self.out_features)


def modules_of(
    places: Mapping[Place, tuple[int, float]], model: LanguageModel
) -> tuple[LowRankModule, ...]:
    """Return the pair of each place, from its rank and scale."""
    modules = []
    for (layer, target), (rank, scale) in places.items():
        out_features, in_features = model.linear_shape(target)
        modules.append(LowRankModule(layer, target, rank, in_features, out_features, scale))
    return tuple(modules)


def groups_of(model: LanguageModel | None) -> dict[str, tuple[str, ...]]:
    """By what a user may write, the linear layers of a model; without one, of dense ones."""
    if model is None:
        return _GROUPS | {"experts": _OTHERS["experts"]}
    if model.is_dense and model.latent is None:
        return _GROUPS
    plain = tuple(target for target in model.targets if not target.startswith(EXPERT))
    attention = model.attention_targets
    groups = {"all-linear": plain, "attention": attention}
    if mlp := tuple(target for target in plain if target not in attention):
        groups["mlp"] = mlp
    if model.latent is None:
        groups["qv"] = _GROUPS["qv"]
    if FUSED in model.adaptable:  # not where every layer is dense
        groups["experts"] = tuple(EXPERT + target for target in MLP_TARGETS)
    return groups


def parse_targets(text: str, where: str, model: LanguageModel | None = None) -> tuple[str, ...]:
    """Return the targets that a user means, in a token's order.

    Parameters
    ----------
    text : str
        ``all-linear`` (without the LM head, as in PEFT), ``attention`` (q, k, v, o), ``mlp``
        (gate, up, down), ``qv``, or names such as ``q_proj`` and ``lm_head``, joined by ``+`` or
        ``,``. In a mixture of experts, ``experts`` and ``experts.down_proj`` are of all experts,
        which no other group has in it.
    where : str
        Begins error messages.

    Raises
    ------
    InputError
        If a name is unknown; the message gives the nearest ones.
    """
    groups = groups_of(model)
    known = _ANY if model is None else model.adaptable
    chosen: set[str] = set()
    for word in text.lower().replace(",", "+").split("+"):
        if word not in groups and word not in known:
            of_model = "" if model is None or known == ADAPTABLE else f" of {model.name}"
            names = "q_proj+v_proj" if "q_proj" in known else "+".join(known[:2])
            raise InputError(
                f"{where}: '{word}' is no target{of_model}; use {', '.join(groups)} or names such "
                f"as {names}{did_you_mean(word, (*groups, *known))}"
            )
        chosen.update(groups.get(word, (word,)))
    return tuple(target for target in known if target in chosen)


def targets_text(targets: tuple[str, ...]) -> str:
    """Return targets as a user writes them: what `parse_targets` reads."""
    names = {group: text for text, group in (*_GROUPS.items(), *_OTHERS.items())}
    in_layers = tuple(target for target in targets if target != HEAD)
    text = names.get(in_layers, "+".join(in_layers))
    return "+".join(filter(None, (text, HEAD if HEAD in targets else "")))
