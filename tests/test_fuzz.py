"""Fuzzing for a moment: broken input gives a valid result or one clear line (at length: ``python tests/fuzz``)."""

from __future__ import annotations

import logging
import os

import pytest
from fuzz.run import fuzz
from fuzz.targets import ACCEPTED, REFUSED, TARGETS
from fuzz.workshop import Hang, Workshop, time_limit

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    return Workshop(tmp_path_factory.mktemp("fuzz"))


@pytest.fixture(autouse=True)
def quiet_and_away(workshop, monkeypatch):
    monkeypatch.chdir(workshop.student.parent)
    monkeypatch.setenv("PADDLESLIM_BILSTM_CACHE", str(workshop.output))
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", TARGETS)
def test_broken_input_is_refused_in_one_line_and_the_rest_works(name, workshop):
    outcomes = fuzz(TARGETS[name], workshop, 60)
    assert outcomes[ACCEPTED] and outcomes[REFUSED]


def test_a_hang_would_be_noticed():
    with pytest.raises(Hang), time_limit(cpu_seconds=0.2):
        while os.getpid():
            pass
