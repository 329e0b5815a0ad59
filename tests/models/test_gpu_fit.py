"""What a fit leaves in a server file: read back, and refused in one sentence where it is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hardwire.models.errors import InputError
from hardwire.models.gpu_fit import Domain
from hardwire.models.gpu_server import BatchServer

FIT = """
fit:
  names: [step_us, kv_token_ns]
  covariance: [[4.0e4, -100], [-100, 9]]
  rows: 20
domain: {prompt_tokens: [5, 407], batch: [1, 1000]}
"""


def server(folder: Path, text: str) -> BatchServer:
    path = folder / "mine.yaml"
    path.write_text("kind: batch\ntitle: Mine\nextends: vllm-h100\n" + text, encoding="utf-8")
    return BatchServer.open(path)


def test_a_fit_and_its_domain_are_read(tmp_path: Path) -> None:
    found = server(tmp_path, FIT)
    assert found.fit is not None and found.domain is not None
    assert found.fit.names == ("step_us", "kv_token_ns")
    np.testing.assert_array_equal(found.fit.matrix, [[4e4, -100], [-100, 9]])
    assert dict(found.domain.items()) == {"prompt_tokens": (5, 407), "batch": (1, 1000)}


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("step_us, ", "stepp_us, ", "fit.names: stepp_us is no parameter"),
        ("step_us, ", "kv_token_ns, ", "fit.names: a name is given twice"),
        ("step_us, ", "", "fit.covariance: a square of 1 numbers"),
        ("[[4.0e4, -100], ", "[[4.0e4], ", "fit.covariance: a square of 2 numbers"),
        ("[-100, 9]]", "[100, 9]]", "fit.covariance: is no covariance"),
        ("-100", "-700", "fit.covariance: is no covariance"),
        ("4.0e4", ".nan", "fit.covariance"),
        ("rows: 20", "rows: 0", "fit.rows"),
        ("[5, 407]", "[500, 407]", "domain.prompt_tokens: 500 to 407 runs backwards"),
        ("[5, 407]", "[5]", "domain.prompt_tokens"),
        ("batch:", "batches:", "domain.batches"),
    ],
)
def test_what_is_no_fit_or_domain_is_refused(
    tmp_path: Path, old: str, new: str, sentence: str
) -> None:
    with pytest.raises(InputError, match=r"^mine\.yaml: " + sentence):
        server(tmp_path, FIT.replace(old, new))


def test_what_lies_beyond_the_domain_is_told() -> None:
    domain = Domain(prompt_tokens=(5, 407), slots=(8, 352))
    assert domain.beyond({"prompt_tokens": 407, "slots": 4, "batch": 9000}) == []
    assert domain.beyond({"prompt_tokens": 2048, "slots": 353}) == [
        "prompts of 2,048 tokens: step times are measured up to 407",
        "353 adapter slots: step times are measured up to 352",
    ]
