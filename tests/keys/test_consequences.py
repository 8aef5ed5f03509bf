"""What a person is told would be lost with a version: every kind of loss has its sentence and its number."""

from dataclasses import replace

import pytest

from keys.services.deletion import Consequences

NONE = Consequences(0, 0, 0, 0, 0, 0, None, "")


@pytest.mark.parametrize(
    ("losses", "sentence"),
    [
        ({"wrapped_versions": 2, "child_keys": 1}, "2 key versions of 1 key become unreadable."),
        ({"wrapped_data_keys": 1}, "1 data key under it becomes unreadable."),
        ({"owned_data_keys": 3}, "3 data keys of its own become unreadable."),
        ({"census_items": 1200}, "1,200 items in data stores become unreadable."),
        ({"untold_items": 1}, "1 item in data stores names no version of the key and may stand on it."),
        ({"untold_items": 40}, "40 items in data stores name no version of the key and may stand on it."),
        ({"root_seals": 1}, "1 seal of the portal's root will not open it any more."),
        ({"elsewhere": ["A certificate."]}, "A certificate."),
    ],
)
def test_each_loss_is_said_and_is_no_harmless_one(losses, sentence):
    found = replace(NONE, **losses)
    assert found.sentences()[0] == sentence
    assert not found.harmless


def test_nothing_lost_is_said_as_well():
    assert NONE.harmless
    assert NONE.sentences()[0] == "Nothing that the portal knows of stands on it any more."
