"""Server files and the power of a server."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hardwire.models import catalogue
from hardwire.models.errors import InputError
from hardwire.models.parameters import quantities
from hardwire.models.server import Machine, Server

SOUND = """\
title: Two cards
chip: hc1
cards: {value: 2, kind: published, source: "here"}
users_per_card: {value: 1, kind: published, source: "here"}
links: {value: each, kind: published, source: "here"}
host_memory_gib: {value: 64, kind: published, source: "here"}
host_w: {value: 100, kind: assumed, range: [50, 200], source: "a guess"}
limit_w: {value: 500, kind: published, source: "here"}
price_usd: {value: 1000, kind: published, source: "here"}
lifetime_years: {value: 3, kind: published, source: "here"}
pue: {value: 1.2, kind: published, source: "here"}
electricity_usd_per_kwh: {value: 0.1, kind: published, source: "here"}
"""


HARDWIRED = ["hc1x10", "hc1x10-pipelined"]


@pytest.mark.parametrize("name", HARDWIRED)
def test_every_server_of_hardwired_chips_opens(name: str) -> None:
    server = Server.open(name)
    assert server.name == name and server.chip in catalogue.names("chip")
    assert set(server.parameters) == set(quantities(Machine))


def test_a_file_that_extends_another_states_only_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("extends: hc1x10\nissue: pipelined\n")
    mine, parent = Server.open(str(path)), Server.open("hc1x10")
    assert mine.issue == "pipelined" and parent.issue is None
    assert (mine.title, mine.chip, mine.machine) == (parent.title, parent.chip, parent.machine)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("extends: hc1x1\n", "mine.yaml: extends: 'hc1x1' is no server"),
        ("extends: mine.yaml\n", "mine.yaml: extends: mine.yaml extends this file in turn"),
        ("extends: hc1x10\nchip: no.yaml\n", "no.yaml: does not exist"),
        (
            "extends: hc1x10\nissue: both\n",
            "mine.yaml: issue: 'both' is not allowed (one of serial",
        ),
    ],
)
def test_a_bad_extension_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        Server.open(str(path))
    assert words in str(caught.value)


def test_power_is_cards_and_host() -> None:
    server = Server.open("hc1x10")
    assert server.power_w(200.0) == 10 * 200 + 600
    assert server.power_w(np.array([0.0, 100.0])).tolist() == [600, 1600]


def test_a_limit_that_leaves_the_cards_nothing_is_refused() -> None:
    server = Server.open("hc1x10")
    assert server.card_limit_w(1600) == 100
    with pytest.raises(InputError, match=r"600 W leaves nothing .* rest of the server takes 600 W"):
        server.card_limit_w(600)


def test_a_server_opens_from_a_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(SOUND)
    assert Server.open(str(path)).power_w(10) == 120


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("title: Two cards\n", "", "mine.yaml: title is missing"),
        ("title:", "kind: batch\ntitle:", "mine.yaml: is a GPU server: replays"),
        ("chip: hc1", "chip: hc9", "mine.yaml: chip: 'hc9' is no chip in the catalogue; did you"),
        ("cards:", "crads:", "mine.yaml: crads is no known parameter; did you mean cards?"),
        ("value: 2,", "value: 0,", "mine.yaml: cards: 0 is out of range (1 to 1,024)"),
        ("value: 2,", "value: 2.5,", "mine.yaml: cards: 2.5 must be a whole number"),
        ("range: [50, 200], ", "", "mine.yaml: host_w: a parameter of kind 'assumed' needs"),
    ],
)
def test_a_bad_server_file_is_refused(tmp_path: Path, old: str, new: str, words: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(SOUND.replace(old, new))
    with pytest.raises(InputError) as caught:
        Server.open(str(path))
    assert words in str(caught.value)


def test_a_wrong_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean hc1x10"):
        Server.open("hc1x1")
