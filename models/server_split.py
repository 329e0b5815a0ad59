"""A server that computes prompts on GPUs and decodes on hardwired cards, from a YAML file.

Its file names two other servers and the kind of link between them: the GPU server computes a prompt
and its first token, the keys and values go over the link, and the hardwired server makes the rest.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hardwire.models import catalogue
from hardwire.models.brief import one_line
from hardwire.models.chip import Chip
from hardwire.models.description import (
    GPU_MARKS,
    SPLIT_MARK,
    SYSTEM_MARK,
    FileKind,
    mark_of,
    read_description,
)
from hardwire.models.errors import InputError
from hardwire.models.gpu_server import BatchServer
from hardwire.models.language_model import LanguageModel
from hardwire.models.parameters import Parameter, count, to_frame
from hardwire.models.server import Server
from hardwire.models.server_of_systems import SystemServer
from hardwire.models.system.link import LinkKind

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Handover:
    """What the file states of the way between the two servers."""

    kv_links: Any = count("", 1, 1024, "links between the servers; a request's KV goes over one")


@dataclass(frozen=True)
class SplitServer:
    """A server file of ``kind: disaggregated``, resolved.

    Attributes
    ----------
    prefill : computes prompts.
    decode : makes all tokens behind the first.
    link : of which there are ``handover.kv_links``.
    parameters : the origin of each number.
    """

    name: str
    title: str
    prefill: BatchServer
    decode: Server | SystemServer
    link: LinkKind
    handover: Handover
    parameters: Mapping[str, Parameter]

    def __post_init__(self) -> None:
        if self.prefill.model.name != self.model.name:
            raise InputError(
                f"{self.name}: prefill: {self.prefill.name} serves {self.prefill.model.name}, but "
                f"decode: {self.decode.name} serves {self.model.name}"
            )

    def __repr__(self) -> str:
        return one_line(self, self.name, self.title, self.prefill.name, self.decode.name)

    def to_frame(self) -> pd.DataFrame:
        """Every parameter of its own, a row each: see ``hardwire.models.parameters.to_frame``."""
        return to_frame(self.parameters)

    @classmethod
    def open(cls, name: str | os.PathLike[str]) -> SplitServer:
        """Read a disaggregated server from the catalogue, or from a path that ends in ``.yaml``.

        Raises
        ------
        InputError
            On an unknown name, an unreadable file, servers of the wrong kinds or of two models, an
            unknown link, an unknown or missing key, or a value out of range.
        """
        path = catalogue.locate("server", name)
        found = read_description(path, SPLIT_SERVER)
        marks = {
            key: mark_of(catalogue.locate("server", found.references[key]), "server")
            for key in ("prefill", "decode")
        }
        if marks["prefill"] not in GPU_MARKS:
            raise InputError(
                f"{path.name}: prefill: must be a GPU server, which {found.references['prefill']} "
                "is not"
            )
        if marks["decode"] not in ("", SYSTEM_MARK):
            raise InputError(
                f"{path.name}: decode: must be a hardwired server, which "
                f"{found.references['decode']} is not"
            )
        decode = found.references["decode"]
        return cls(
            name=found.name,
            title=found.title,
            prefill=BatchServer.open(found.references["prefill"]),
            decode=SystemServer.open(decode) if marks["decode"] else Server.open(decode),
            link=LinkKind.open(found.references["link"]),
            handover=found.sections[""],
            parameters=found.parameters,
        )

    @property
    def model(self) -> LanguageModel:
        """That both servers serve."""
        if isinstance(self.decode, SystemServer):
            return self.decode.model
        return LanguageModel.open(Chip.open(self.decode.chip).model)

    @property
    def price_usd(self) -> float:
        """Of both servers; of the links nothing is known."""
        return float(self.prefill.batching.price_usd) + float(self.decode.machine.price_usd)

    @property
    def hops(self) -> int:
        """Links from one server to the other: two where they meet in a switch."""
        return 2 if self.link.sheet.way == "switch" else 1

    @property
    def bytes_per_s(self) -> float:
        """Rate of a link, no more than a port of its kind brings."""
        return float(min(self.link.bandwidth, self.link.port))

    @property
    def latency_s(self) -> float:
        """From the last byte that is sent to its arrival."""
        return self.hops * float(self.link.latency_s)


SPLIT_SERVER = FileKind(
    "server",
    {"": Handover},
    references={"prefill": "server", "decode": "server", "link": "link"},
    files=("prefill", "decode", "link"),
    marked=SPLIT_MARK,
)
"""What may stand in the file of a disaggregated server."""
