"""How much of what a description says is true: objects, their colours, the place. Needs nothing but Python.

An object is a pair (noun, colour), colour None where none is said or known. Saying more than there is costs as much as
saying less: a text that lists every noun is not right about all of them.
"""

from collections import Counter
from collections.abc import Sequence

#: A noun and its colour.
ObjectPair = tuple[str, str | None]


def object_share(said: Sequence[ObjectPair], true: Sequence[ObjectPair]) -> float | None:
    """Objects named rightly / the larger number of said and true ones, in [0, 1]; None without a true one.

    Of two cars, one that is said twice is right twice.
    """
    if not true:
        return None
    said_nouns = Counter()
    for noun, _ in said:
        said_nouns[noun] += 1
    true_nouns = Counter()
    for noun, _ in true:
        true_nouns[noun] += 1
    said_rightly = said_nouns & true_nouns
    return said_rightly.total() / max(len(said), len(true))


def color_share(said: Sequence[ObjectPair], true: Sequence[ObjectPair]) -> float | None:
    """Colours said rightly / the larger number of colours said and true ones, in [0, 1]; None without a true one.

    The colour is that of an object: each true object is compared with one said object (see `match`).
    """
    num_true = _num_colors(true)
    if not num_true:
        return None
    num_hits = 0
    for said_object, true_object in match(said, true):
        said_color = said_object[1]
        true_color = true_object[1]
        if true_color is not None and said_color == true_color:
            num_hits += 1
    return num_hits / max(_num_colors(said), num_true)


def _num_colors(objects: Sequence[ObjectPair]) -> int:
    return sum(color is not None for _, color in objects)


def place_share(said: Sequence[str], true: str | None) -> float | None:
    """1 where the true place is said and no other, else 0; None where it is not known."""
    if true is None:
        return None
    return float(set(said) == {true})


def match(said: Sequence[ObjectPair], true: Sequence[ObjectPair]) -> list[tuple[ObjectPair, ObjectPair]]:
    """Said objects with the true ones that they are taken for, one to one: (said, true).

    Those alike in noun and colour first, then those of one noun, then what is left in the order of the two lists: a
    wrong noun does not make a right colour wrong.
    """
    rest_said = list(said)
    rest_true = list(true)
    pairs = []
    for same in (_same_object, _same_noun, _anything):
        for true_object in list(rest_true):
            alike = [said_object for said_object in rest_said if same(said_object, true_object)]
            if not alike:
                continue
            partner = alike[0]
            rest_said.remove(partner)
            rest_true.remove(true_object)
            pairs.append((partner, true_object))
    return pairs


def _same_object(said: ObjectPair, true: ObjectPair) -> bool:
    return said == true


def _same_noun(said: ObjectPair, true: ObjectPair) -> bool:
    return said[0] == true[0]


def _anything(said: ObjectPair, true: ObjectPair) -> bool:
    return True
