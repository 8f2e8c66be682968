"""Attributes of items: given ones where every domain has them, else words that enough items share."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.domain import Domain, Sequences
from benchmark.taxonomy import MIN_ITEMS, attributes


def domain(texts: list[str], taxonomy: Sequence[tuple[str, ...]] | None = None) -> Domain:
    ids = tuple(map(str, range(len(texts))))
    return Domain(
        name="d",
        sequences=Sequences.of([[0]]),
        item_ids=ids,
        user_ids=("u",),
        texts=tuple(texts),
        taxonomy=None if taxonomy is None else tuple(taxonomy),
    )


def test_words_of_enough_items_are_attributes() -> None:
    texts = ["The steel Hammer 2", "steel hammer, hammer", "Hammer. of steel!", "hammer", "x hammer 3D", "3d steel", ""]
    (found,) = attributes([domain(texts)])
    assert MIN_ITEMS == 5
    assert found == (("hammer",), ("hammer",), ("hammer",), ("hammer",), ("hammer",), (), ())


def test_items_are_counted_over_all_domains() -> None:
    first, second = attributes([domain(["red cup", "red"]), domain(["red", "red", "red pot"])])
    assert first == (("red",), ("red",))
    assert second == (("red",), ("red",), ("red",))


def test_a_taxonomy_is_taken_as_it_is() -> None:
    rows = [("Tools", "Bosch", "")] * 5 + [("Tools", "rare")]
    (found,) = attributes([domain(["text"] * 6, rows)])
    assert found == (("Bosch", "Tools"),) * 5 + (("Tools",),)


def test_where_one_domain_has_none_words_stand_for_all() -> None:
    with_taxonomy = domain(["big pan"] * 5, [("Kitchen",)] * 5)
    first, second = attributes([with_taxonomy, domain(["pan"])])
    assert first == (("big", "pan"),) * 5
    assert second == (("pan",),)
