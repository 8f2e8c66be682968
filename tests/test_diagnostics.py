"""What a run says of its model for figures: right by hand, the same twice, and no more than cards allow."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from results_tree import make_job, make_ranks, make_record, make_source, store_context, store_run
from torch import Tensor

from benchmark import diagnose as module
from benchmark.batches import Batch
from benchmark.diagnose import Examined, Texts, cosines_of_pairs, diagnose, pairs_of
from benchmark.diagnostics import BINS, SHOWN_CHARACTERS, Diagnostics, Histogram, shown_texts
from benchmark.domain import Domain, Sequences
from benchmark.errors import InputError
from benchmark.jobs import digest
from benchmark.method import Material, Method, Model, NoConfig, registry
from benchmark.splits import leave_one_out
from benchmark.store import read_diagnostics, read_run, write_run
from benchmark.testing import Subject, toy_domain, toy_text
from benchmark.verify import verify

torch.set_num_threads(1)
KEY = digest("a run")


class TestHistogram:
    def test_counts_mean_and_deviation_by_hand(self) -> None:
        found = Histogram.of(np.array([[-1, 0.5], [0.51, 1]], np.float32))
        assert found is not None
        assert {place: count for place, count in enumerate(found.counts) if count} == {0: 1, 75: 2, 99: 1}
        assert found.total == 4
        assert found.mean == pytest.approx(1.01 / 4, abs=1e-6)
        assert found.sd == pytest.approx(np.std([-1, 0.5, 0.51, 1]), abs=1e-6)

    def test_rounding_beyond_one_is_one(self) -> None:
        found = Histogram.of(np.array([1.0000001, -1.0000001], np.float32))
        assert found is not None
        assert (found.counts[0], found.counts[-1], found.mean, found.sd) == (1, 1, 0, 1)

    def test_of_nothing_there_is_none_and_of_a_nan_neither(self) -> None:
        assert Histogram.of(np.zeros(0, np.float32)) is None
        with pytest.raises(ValueError, match="mean"):
            Histogram.of(np.array([0.5, np.nan], np.float32))


class TestPairs:
    def test_few_items_give_every_pair_once(self) -> None:
        first, second = pairs_of(4, "any")
        assert list(zip(first.tolist(), second.tolist(), strict=True)) == [
            (0, 1),
            (0, 2),
            (0, 3),
            (1, 2),
            (1, 3),
            (2, 3),
        ]
        assert [len(part) for part in pairs_of(1, "any")] == [0, 0]

    def test_many_items_give_so_many_pairs_of_different_ones(self) -> None:
        first, second = pairs_of(700, "one")
        assert len(first) == len(second) == module.PAIRS
        assert (first != second).all()
        for part in (first, second):
            assert (part.min(), part.max()) == (0, 699)
        np.testing.assert_array_equal(pairs_of(700, "one"), (first, second))
        assert (pairs_of(700, "two")[0] != first).any()

    def test_cosines_by_hand(self) -> None:
        vectors = np.array([[1, 0], [0, 2], [3, 3], [-5, 0], [0, 0]], np.float32)
        pairs = np.array([0, 0, 0, 1, 0]), np.array([1, 2, 3, 2, 4])
        for at_a_time in (2, 100):
            found = cosines_of_pairs(vectors, pairs, at_a_time)
            np.testing.assert_allclose(found, [0, 0.5**0.5, -1, 0.5**0.5, np.nan], atol=1e-6)


def test_of_a_text_the_beginning_is_shown_on_one_line() -> None:
    assert shown_texts(["a\n b\t", "x" * 80, "y" * 81]) == ("a b", "x" * 80, "y" * 79 + "…")


# --- a model whose vectors can be computed by hand


class LastText(Model):
    """Users are the text of their last item times a learned vector; items likewise, and one more in every place."""

    text_NF: Tensor

    def __init__(self, config: NoConfig, material: Material) -> None:
        super().__init__()
        assert material.text is not None
        self.scale = torch.nn.Parameter(torch.rand(material.text.shape[1]))
        self.register_buffer("text_NF", torch.from_numpy(material.text), persistent=False)

    def items(self) -> Tensor:
        return self.text_NF * self.scale

    def candidates(self, items_ND: Tensor) -> Tensor:
        return items_ND + 1

    def users(self, batch: Batch, items_ND: Tensor) -> Tensor:
        return F.embedding(batch.items_BL.flatten()[batch.at_T], items_ND)

    def loss(self, batch: Batch) -> Tensor:
        raise AssertionError("diagnostics train nothing")


class Centred(LastText):
    """What a history says depends on all other items."""

    def items(self) -> Tensor:
        return self.text_NF - self.text_NF.mean(0) * self.scale


METHOD = Method(
    name="LastText",
    family="text",
    role="row",
    version=1,
    paper="none",
    build=LastText,
    needs=frozenset({"text", "sources"}),
    pretraining="some",
)


def domain(name: str, rows: list[list[int]], texts: list[str]) -> Domain:
    return Domain(
        name=name,
        sequences=Sequences.of(rows),
        item_ids=tuple(f"{name}-item-{n}" for n in range(len(texts))),
        user_ids=tuple(f"{name}-user-{n}" for n in range(len(rows))),
        texts=tuple(texts),
    )


def given(domain: Domain, *angles: float) -> Texts:
    """Item texts as directions in the plane, by their angle in degrees."""
    radians = np.radians(angles)
    return Texts(domain=domain, text_NF=np.stack([np.cos(radians), np.sin(radians)], 1).astype(np.float32))


# what a user took last before the test item: item 1, and item 0
TARGET = given(domain("shop", [[0, 1, 2], [1, 2, 0, 1]], ["CUP", "JAR", "MUG"]), 0, 90, 180)
# what a sequence ends with, less its last two: item 0; nothing; item 2; item 1
KITCHEN = given(domain("kitchen", [[0, 1, 2], [2, 2], [1, 2, 0, 0], [2, 1, 0, 0]], ["cup", "jar", "pan"]), 10, 100, 30)
GARDEN = given(domain("garden", [[1, 0, 0]], ["rake", "bench"]), 0, 60)


def examined(build: Callable[..., Model] = LastText, **changes: Any) -> Examined:
    assert TARGET.domain.n_items == 3
    model = build(NoConfig(), Material(n_items=3, train=TARGET.domain.sequences, text=TARGET.text_NF))
    with torch.no_grad():
        dict(model.named_parameters())["scale"].fill_(1)
    method = replace(METHOD, build=build, **changes)
    return Examined(
        method=method,
        config=NoConfig(),
        model=model,
        target=TARGET,
        split=leave_one_out(TARGET.domain),
        pretrained={},
        device=torch.device("cpu"),
    )


def made(subject: Examined | None = None, *, show: bool = True, said: list[str] | None = None) -> Diagnostics:
    log = [] if said is None else said
    found = diagnose(KEY, subject or examined(), lambda: [KITCHEN, GARDEN], show=show, log=log.append)
    assert found is not None
    return found


def test_items_are_compared_as_texts_and_as_scores_see_them() -> None:
    cosines = made().item_cosines
    assert cosines is not None
    # angles of 90, 180 and 90 degrees
    assert cosines.text.mean == pytest.approx(-1 / 3, abs=1e-6)
    # (2, 1), (1, 2) and (0, 1)
    by_hand = [4 / 5, 1 / 5**0.5, 2 / 5**0.5]
    assert cosines.items.mean == pytest.approx(np.mean(by_hand), abs=1e-6)
    assert cosines.items.sd == pytest.approx(np.std(by_hand), abs=1e-6)
    assert cosines.items.total == cosines.text.total == 3


def test_a_text_without_direction_is_in_no_pair() -> None:
    text = TARGET.text_NF.copy()
    text[1] = 0
    subject = examined()
    found = made(replace(subject, target=Texts(domain=TARGET.domain, text_NF=text))).item_cosines
    assert found is not None
    assert (found.text.total, found.text.mean, found.items.total) == (1, -1, 1)


def test_nearest_sequences_by_hand() -> None:
    nearness = made().nearness
    assert nearness is not None
    assert (nearness.users, nearness.any_two.total) == (2, 8)
    kitchen, garden = nearness.sources
    assert (kitchen.source, kitchen.sequences, kitchen.nearest) == ("kitchen", 3, 2)
    assert (garden.source, garden.sequences, garden.nearest) == ("garden", 1, 0)
    cases = {case.row: case for case in nearness.cases}
    assert [case.texts for _, case in sorted(cases.items())] == [("CUP", "JAR"), ("JAR", "MUG", "CUP")]
    # sequences end at 10, 100, 10 (kitchen's rows 0, 2 and 3: items 0, 2, 1) and at 60 degrees
    at_90, at_0 = ([(near.source, near.row, near.texts) for near in cases[row].nearest] for row in (0, 1))
    cos = lambda *degrees: pytest.approx(np.cos(np.radians(degrees)).tolist(), abs=2e-6)  # noqa: E731
    assert at_90 == [
        ("kitchen", 3, ("pan", "jar")),
        ("garden", 0, ("bench",)),
        ("kitchen", 2, ("jar", "pan")),
        ("kitchen", 0, ("cup",)),
    ]
    assert [near.cosine for near in cases[0].nearest] == cos(10, 30, 60, 80)
    assert at_0 == [at_90[3], at_90[2], at_90[1], at_90[0]]
    assert [near.cosine for near in cases[1].nearest] == cos(10, 30, 60, 100)
    assert [kitchen.highest.mean] == cos(10)
    assert garden.highest.mean == pytest.approx((np.cos(np.radians(30)) + 0.5) / 2, abs=1e-6)
    assert nearness.any_two.mean == pytest.approx(
        np.mean(np.cos(np.radians([10, 30, 60, 80, 10, 30, 60, 100]))), abs=1e-6
    )


def test_where_it_is_not_allowed_nothing_of_a_user_or_an_item_is_said() -> None:
    shown, hidden = made(show=True), made(show=False)
    assert hidden.nearness is not None
    assert hidden.nearness.cases == ()
    assert hidden.model_copy(update={"nearness": None}) == shown.model_copy(update={"nearness": None})
    written = hidden.model_dump_json()
    for domain in (TARGET.domain, KITCHEN.domain, GARDEN.domain):
        for word in (*domain.texts, *domain.item_ids, *domain.user_ids, '"row"', '"texts"'):
            assert word not in written


def test_the_same_model_says_the_same_whatever_was_drawn_before_and_draws_nothing() -> None:
    subject = examined()
    subject.model.train()
    first = made(subject)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    assert made(subject).model_dump_json() == first.model_dump_json()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert subject.model.training


def test_few_of_many_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"USERS": 2, "CASES": 1, "SEQUENCES": 3, "AT_A_TIME": 2, "PAIRS": 5}.items():
        monkeypatch.setattr(module, name, value)
    nearness = made().nearness
    assert nearness is not None
    assert len(nearness.cases) == 1
    assert sum(near.sequences for near in nearness.sources) == 3
    assert nearness.any_two.total == 5


@pytest.mark.parametrize("changes", [{"family": "text+id"}, {"pretraining": None}])
def test_only_what_is_pre_trained_and_reads_nothing_but_texts_reads_sources(changes: dict[str, Any]) -> None:
    found = made(examined(**changes))
    assert found.nearness is None
    assert found.item_cosines is not None


FAMILIES = registry().families
PRETRAINED = [m for m in registry().methods.values() if m.pretraining and m.family == "text"]


@pytest.mark.parametrize("method", PRETRAINED, ids=lambda method: method.name)
def test_methods_that_read_texts_alone_read_those_of_sources_in_the_same_space(method: Method) -> None:
    subject = Subject(method=method, family=FAMILIES[method.pretraining or ""])
    config, target, source = subject.configuration(), toy_domain(), toy_domain(n_items=25, n_users=40)
    material = subject.material(target, config)
    model = method.build(config, material)
    assert isinstance(model, Model)
    assert material.text is not None
    if method.trained:
        subject.train(model, leave_one_out(target), epochs=1)
    trained = Examined(
        method=method,
        config=config,
        model=model,
        target=Texts(domain=target, text_NF=material.text),
        split=leave_one_out(target),
        pretrained=material.pretrained,
        device=torch.device("cpu"),
    )
    said: list[str] = []
    own, other = (Texts(domain=each, text_NF=toy_text(each.n_items)) for each in (target, source))
    found = diagnose(KEY, trained, lambda: [own, other], show=True, log=said.append)
    assert said == []
    assert found is not None
    assert found.nearness is not None
    # the target's own sequences read as a source's: two items shorter than histories are, hence not the same
    assert [near.source for near in found.nearness.sources] == ["toy", "toy"]
    assert found.nearness.sources[0].highest.mean > found.nearness.any_two.mean


def test_a_model_that_reads_other_domains_otherwise_is_not_compared() -> None:
    said: list[str] = []
    found = made(examined(Centred), said=said)
    assert found.nearness is None
    assert found.item_cosines is not None
    (line,) = said
    assert "depend on more than its parameters and the texts" in line


def test_what_goes_wrong_is_said_and_left_out() -> None:
    def no_sources() -> list[Texts]:
        raise InputError("the texts of kitchen were not encoded here")

    said: list[str] = []
    found = diagnose(KEY, examined(), no_sources, show=True, log=said.append)
    assert found is not None
    assert found.nearness is None
    assert found.item_cosines is not None
    assert said == [
        "no nearest source sequences in the diagnostics: InputError: the texts of kitchen were not encoded here"
    ]

    class Broken(LastText):
        def items(self) -> Tensor:
            raise RuntimeError("out of order")

    assert diagnose(KEY, examined(Broken), no_sources, show=True, log=said.append) is None
    assert "RuntimeError: out of order" in said[1]


# --- stored


def stored(tmp_path: Path, diagnostics: Diagnostics | None) -> Path:
    job, ranks = make_job("UniSRec_t", sources=("kitchen", "garden")), make_ranks([0, 1, 5, 9, 12, 59])
    record = make_record(job, ranks, sources=(make_source("kitchen", 40), make_source("garden", 30)))
    store_context(tmp_path)
    return write_run(tmp_path, record, ranks, diagnostics)


def of_the_run(**changes: Any) -> Diagnostics:
    key = make_record(make_job("UniSRec_t", sources=("kitchen", "garden")), make_ranks([0])).key
    return made().model_copy(update={"key": key, **changes})


def test_diagnostics_come_back_as_they_were_written(tmp_path: Path) -> None:
    folder = stored(tmp_path, of_the_run())
    assert sorted(path.name for path in folder.iterdir()) == ["diagnostics.json", "ranks.parquet", "record.json"]
    assert read_diagnostics(folder, read_run(folder).record) == of_the_run()
    assert verify(tmp_path) == []
    again = stored(tmp_path / "again", of_the_run())
    assert (again / "diagnostics.json").read_bytes() == (folder / "diagnostics.json").read_bytes()


def test_a_run_without_diagnostics_is_whole(tmp_path: Path) -> None:
    folder = stored(tmp_path, None)
    assert read_diagnostics(folder, read_run(folder).record) is None
    assert verify(tmp_path) == []
    store_run(tmp_path, make_job(), [0, 1, 5, 9, 12, 59])
    assert verify(tmp_path) == []


def _nearness(content: dict[str, Any]) -> dict[str, Any]:
    return content["nearness"]


TAMPERED: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "an unknown key": (lambda c: c.update(extra=1), "extra: "),
    "an unknown key of a case": (lambda c: _nearness(c)["cases"][0].update(user_id="ada"), "cases.0.user_id: "),
    "another format": (lambda c: c.update(format=2), "format: "),
    "a key missing": (lambda c: c.pop("item_cosines"), "item_cosines: "),
    "text for a number": (lambda c: _nearness(c).update(users="2"), "users: "),
    "a bin too many": (lambda c: _nearness(c)["any_two"]["counts"].append(0), "any_two.counts: "),
    "a negative count": (lambda c: c["item_cosines"]["text"]["counts"].__setitem__(3, -1), "text.counts.3: "),
    "a cosine of two": (lambda c: _nearness(c)["cases"][0]["nearest"][0].update(cosine=2.0), "nearest.0.cosine: "),
    "a whole text": (
        lambda c: _nearness(c)["cases"][0].update(texts=["x" * (SHOWN_CHARACTERS + 1)]),
        "cases.0.texts.0: ",
    ),
    "a whole history": (lambda c: _nearness(c)["cases"][0].update(texts=["x"] * 6), "cases.0.texts: "),
    "of another run": (lambda c: c.update(key=digest("other")), "belongs to another run"),
    "pairs of one side only": (
        lambda c: c["item_cosines"]["text"]["counts"].__setitem__(BINS - 1, 1000),
        "not compared over the same pairs",
    ),
    "another source": (
        lambda c: _nearness(c)["sources"][0].update(source="attic"),
        "names a source that the run does not have",
    ),
    "another number of users": (
        lambda c: _nearness(c)["sources"][0]["highest"]["counts"].__setitem__(0, 7),
        "not every source has a cosine of each of the 2 users",
    ),
    "users that do not add up": (lambda c: _nearness(c)["sources"][0].update(nearest=1), "do not add up to 2"),
    "a user beyond the target": (lambda c: _nearness(c)["cases"][0].update(row=6), "shows a user that its domain"),
    "a user beyond the source": (
        lambda c: _nearness(c)["cases"][0]["nearest"][0].update(row=40),
        "shows a user that its domain",
    ),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_what_was_tampered_with_is_reported_and_the_run_still_read(tmp_path: Path, what: str) -> None:
    change, message = TAMPERED[what]
    folder = stored(tmp_path, of_the_run())
    content = json.loads((folder / "diagnostics.json").read_text(encoding="utf-8"))
    change(content)
    (folder / "diagnostics.json").write_text(json.dumps(content), encoding="utf-8")
    for place in (tmp_path, folder):
        (problem,) = verify(place)
        assert problem.startswith(f"{folder / 'diagnostics.json'}: ")
        assert message in problem
    assert read_run(folder).record.job.method == "UniSRec_t"


def test_damaged_diagnostics_are_reported(tmp_path: Path) -> None:
    folder = stored(tmp_path, of_the_run())
    os.truncate(folder / "diagnostics.json", 100)
    (problem,) = verify(tmp_path)
    assert "diagnostics.json: " in problem
    (folder / "diagnostics.json").unlink()
    (folder / "diagnostics.txt").write_text("?")
    (problem,) = verify(tmp_path)
    assert problem.startswith(f"{folder / 'diagnostics.txt'}: is no part of a run")
