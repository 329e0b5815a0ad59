"""A GPU server from measurements of its parts: ``fit_server``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hardwire.experiments.calibration import gpu_server as fitting
from hardwire.models.gpu_server import BatchServer
from hardwire.models.language_model import LanguageModel
from hardwire.resolve import Named, folder_of, in_python_words, text_of
from hardwire.show import Shown, chosen

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import RenderableType


class ServerFit(Shown, fitting.ServerFit):
    """The answer of ``fit_server``: see ``hardwire.experiments.calibration.gpu_server``."""

    def tables(self) -> RenderableType:
        """Coefficients with their deviations, and every row with its error."""
        from hardwire.experiments.calibration.gpu_server_view import render  # noqa: PLC0415

        return render(self)

    def to_frame(self, what: Literal["coefficients", "rows"] = "coefficients") -> pd.DataFrame:
        """A row per coefficient, in the unit of its name, or per measured time, in seconds."""
        import pandas as pd  # noqa: PLC0415

        return chosen(
            "what",
            what,
            {
                "coefficients": lambda: pd.DataFrame(map(vars, self.coefficients)).set_index(
                    "name"
                ),
                "rows": lambda: pd.DataFrame([point.to_dict() for point in self.points]),
            },
        )

    @in_python_words
    def save(self, out: Named) -> Path:
        """Write the server's file, over the base server, which must be of the catalogue.

        Raises
        ------
        InputError
            If the file exists, does not end in ``.yaml``, or cannot be written.
        """
        from hardwire.experiments.calibration.gpu_server_file import write_server  # noqa: PLC0415

        return write_server(self, folder_of("out", out), self.base.name)


@in_python_words
def fit_server(
    profile: Named, model: Named | None = None, *, base: BatchServer | Named = "vllm-h100"
) -> ServerFit:
    """Fit a GPU server's step times to measurements of its parts.

    Parameters
    ----------
    profile : str or path
        CSV of measured runs; its columns are in ``docs/gpu-servers.md``.
    model : str, optional
        Whose rows are fitted, by its name in the catalogue; by default the base server's.
    base : BatchServer, str or path
        A GPU server of the catalogue, which gives memory, limits, and what the rows do not tell.

    Returns
    -------
    ServerFit
        With ``to_frame`` and ``save``; ``print`` shows the tables.

    Raises
    ------
    InputError
        If the file lacks a column or a number, has no or too few rows of the model, or the base
        server cannot be used.
    """
    server = base if isinstance(base, BatchServer) else BatchServer.open(
        text_of("base", base, "a BatchServer")
    )  # fmt: skip
    named = None if model is None else LanguageModel.by_name(text_of("model", model, "its name"))
    return ServerFit.of(fitting.fit_profile(folder_of("profile", profile), named, server))
