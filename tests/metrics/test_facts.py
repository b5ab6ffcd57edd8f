"""Shares of facts said rightly, worked out by hand."""

import pytest

from heie_hf.metrics.facts import color_share, match, object_share, place_share

RED_CAR, BLUE_CAR, CAR = ("car", "red"), ("car", "blue"), ("car", None)
RED_DOG, DOG, CAT = ("dog", "red"), ("dog", None), ("cat", None)


@pytest.mark.parametrize(
    ("said", "true", "share"),
    [
        ([], [CAR], 0),
        ([CAR], [CAR], 1),
        ([CAR], [CAR, DOG], 1 / 2),
        ([CAR, CAR], [CAR, CAR], 1),
        ([CAR, CAR], [CAR], 1 / 2),  # one too many
        ([CAR, DOG, CAT], [DOG], 1 / 3),  # everything is said
        ([DOG, CAR], [CAR, DOG], 1),
        ([CAT], [], None),
    ],
)
def test_objects(said, true, share):
    assert object_share(said, true) == share


@pytest.mark.parametrize(
    ("said", "true", "share"),
    [
        ([], [RED_CAR], 0),
        ([RED_CAR], [RED_CAR], 1),
        ([CAR], [RED_CAR], 0),
        ([RED_DOG], [RED_CAR], 1),  # the colour of a misnamed object
        ([BLUE_CAR, RED_CAR], [RED_CAR, BLUE_CAR], 1),
        ([("dog", "blue"), RED_CAR], [RED_DOG, BLUE_CAR], 0),  # both are said, of the other one
        ([RED_CAR, BLUE_CAR], [RED_CAR], 1 / 2),  # a colour too many
        ([("car", "red blue")], [RED_CAR], 0),  # contradiction
        ([RED_CAR, ("hand", "green")], [RED_CAR, ("hand", None)], 1 / 2),
        ([RED_CAR], [CAR], None),
        ([RED_CAR], [], None),
    ],
)
def test_colors(said, true, share):
    assert color_share(said, true) == share


def test_places():
    assert place_share(["in the snow"], "in the snow") == 1
    assert place_share([], "in the snow") == place_share(["in a desert"], "in the snow") == 0
    assert place_share(["in the snow", "in a desert"], "in the snow") == 0
    assert place_share(["in the snow"], None) is None


def test_the_best_partner_comes_first():
    said = [BLUE_CAR, RED_DOG, RED_CAR]
    assert match(said, [RED_CAR, CAT]) == [(RED_CAR, RED_CAR), (BLUE_CAR, CAT)]
    assert match(said, [CAT, BLUE_CAR, CAR]) == [(BLUE_CAR, BLUE_CAR), (RED_CAR, CAR), (RED_DOG, CAT)]
