"""Known numbers on real data, where these are beside the repository (``../shared/data``)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.cards import load_cards
from benchmark.encode import encode
from benchmark.method import Material, Model, registry
from benchmark.metrics import METRICS, per_user
from benchmark.prepare import Prepared, prepare
from benchmark.rank import Ranks, rank
from benchmark.splits import Split, leave_one_out

torch.set_num_threads(1)

DATA = Path(__file__).parents[1].parent / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data in {DATA}")


def prepared(name: str, cache: Path) -> Prepared:
    return prepare(load_cards()[name], data=[DATA], cache=cache)


@pytest.fixture(scope="module")
def scientific(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepared("Scientific", tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def split(scientific: Prepared) -> Split:
    return leave_one_out(scientific.domain)


def counting(name: str, split: Split) -> Ranks:
    method = registry().methods[name]
    built = method.build(method.configure({}), Material(n_items=split.n_items, train=split.train))
    return rank(built, split.test, split.n_items)


def means(ranks: Ranks) -> list[float]:
    return [float(per_user(metric, ranks.greater, ranks.equal).mean()) for metric in METRICS]


def test_the_released_split_has_the_counts_of_the_paper(scientific: Prepared, split: Split) -> None:
    domain = scientific.domain
    assert (domain.n_users, domain.n_items, domain.n_interactions) == (8_442, 4_385, 59_427)
    assert (scientific.split, scientific.custom) == ("released", False)
    lengths = split.train.lengths
    assert int((lengths - 1).sum()) == 34_101, "training rows of the released files"
    assert int((lengths > 50).sum()) == 3
    counts = split.train_counts[split.test.targets]
    assert int((counts == 0).sum()) == 37, "test items never seen in training"
    assert int((split.train_counts == 0).sum()) == 12
    seen = sum(target in history for history, target in zip(split.test.histories, split.test.targets, strict=True))
    assert seen == 50, "test items that the user has had before"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("Popularity", [0.0309, 0.0171, 0.0924, 0.0299]), ("Markov", [0.0830, 0.0564])],
)
def test_counting_methods_score_as_measured_elsewhere(name: str, expected: list[float], split: Split) -> None:
    """Recall@10, NDCG@10 (and at 50) of two independent implementations."""
    assert means(counting(name, split))[: len(expected)] == pytest.approx(expected, abs=0.001)


def test_items_with_one_text_tie_exactly_and_no_others(scientific: Prepared, split: Split, tmp_path: Path) -> None:
    """16 pairs of items share a text; 194 test items (2.3 %) are one of them."""
    domain = scientific.domain
    copies = Counter(domain.texts)
    twins = np.array([copies[domain.texts[item]] for item in split.test.targets]) - 1
    assert int((twins > 0).sum()) == 194
    # the hash encoder gives some different texts one vector (it reads no single letters)
    text = np.array(encode(domain.texts, "hash", tmp_path, progress=False).matrix)
    _, row, count = np.unique(text, axis=0, return_inverse=True, return_counts=True)
    method = registry().methods["UniSRec_t-scratch"]
    torch.manual_seed(0)
    config = method.configure({"width": 16, "inner": 16, "layers": 1, "experts": 2})
    model = method.build(config, Material(n_items=split.n_items, train=split.train, text=text))
    assert isinstance(model, Model)
    found = rank(model, split.test, split.n_items).equal
    expected = count[row[split.test.targets]] - 1
    assert (found >= expected).all(), "items with one text are told apart"
    assert (expected >= twins).all()
    # scores of different texts may meet by chance, once in a while
    assert int((found != expected).sum()) < 5


def test_online_retail_is_a_basket_in_an_order_that_tells_nothing(tmp_path: Path) -> None:
    retail = prepared("OnlineRetail", tmp_path)
    assert (retail.domain.n_users, retail.domain.n_items, retail.domain.n_interactions) == (16_520, 3_469, 519_906)
    recall, ndcg, *_ = means(counting("Markov", leave_one_out(retail.domain)))
    assert recall == pytest.approx(0.077, abs=0.002)
    assert ndcg == pytest.approx(0.043, abs=0.002)


def test_the_order_of_lines_of_online_retail_leaks(tmp_path: Path) -> None:
    recall, *_ = means(counting("Markov", leave_one_out(prepared("online-retail-lineorder", tmp_path).domain)))
    assert recall == pytest.approx(0.284, abs=0.005), "above every printed row"
