"""People and what they have with them."""

from __future__ import annotations

import numpy as np
import pytest
from flat_ground import flat_ground

from pcdet.simulator import walkers
from pcdet.simulator.companions import pram
from pcdet.simulator.placement import Builder


@pytest.mark.parametrize("companion", walkers._COMPANIONS, ids=lambda own: own.make.__name__)
def test_there_is_room_for_what_people_have_with_them(monkeypatch, companion):
    monkeypatch.setattr(walkers, "_WITH", 1.0)
    monkeypatch.setattr(walkers, "_COMPANIONS", (companion,))
    rng = np.random.default_rng(0)
    for heading in np.linspace(-3.0, 3.0, 20):
        builder = Builder(flat_ground(), rng)
        walkers._person(builder, (12.0, 6.0, heading))
        assert len(builder.objects) == len(builder.statics) == 1
        (person,), (thing,) = builder.objects, builder.statics
        ahead = np.array([np.cos(heading), np.sin(heading)])
        middle = np.mean(thing.extent, axis=0)[:2] - person.position[:2]
        assert middle @ ahead > -0.1
        assert 0.3 < np.linalg.norm(middle) < 1.2


def test_nothing_is_pushed_through_others():
    rng = np.random.default_rng(1)
    builder = Builder(flat_ground(), rng)
    for x in (13.4, 12.0):
        assert builder.add_object("Pedestrian", x, 6.0, 0.0)
    assert not builder.add_static(pram(rng), 12.7, 6.0, 0.0, with_last=True)
    assert not builder.add_static(pram(rng), 11.3, 6.0, np.pi)
    assert builder.add_static(pram(rng), 11.3, 6.0, np.pi, with_last=True)
