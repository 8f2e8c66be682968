"""What figures take from stored runs, and what is then drawn: numbers by hand, texts that are whole, the same bytes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.lines import Line2D
from matplotlib.text import Text
from results_tree import USERS, board_of, make_job, make_pretraining, planned, store_context, store_run

from benchmark.jobs import Job, Pretraining
from benchmark.metrics import per_user
from benchmark.multiple import critical_difference as nemenyi
from benchmark.record import Epoch
from benchmark.report.cases import Distribution, Similarity
from benchmark.report.figures import (
    ablation,
    cost,
    critical_difference,
    curves,
    few_shot,
    overall,
    placement,
    pretraining_length,
    similarity,
    slices,
    sources,
    style,
    write,
)
from benchmark.report.figures.saving import Words, save
from benchmark.report.figures.values import Estimate, lines_of, short
from benchmark.report.figures.write import write_figures
from benchmark.report.stored import Stored, stored
from benchmark.significance import paired_t
from benchmark.slices import TRAIN_COUNT, slices_of
from benchmark.store import write_plan

ROOT = Path(__file__).parents[1]

# Ranks of six users; user u's test item was trained on u times, so the first five are the group [0, 5).
FIRST, SECOND, WORSE = [0, 0, 0, 0, 10, 50], [0, 0, 0, 10, 10, 50], [0, 0, 20, 20, 20, 50]
SCIENTIFIC = {"paper_name": "Scientific"}
THEIRS: Any = {"font.size": 30, "axes.facecolor": "black", "svg.hashsalt": None, "savefig.dpi": 10}
"""Settings of a user that would change every figure."""
HOSTILE = "A<b> & $x_1$ \\alpha\n" + "long " * 30


def pretraining(epochs: int = 5, sources: tuple[str, ...] = ("a", "b"), **config: Any) -> Pretraining:
    return Pretraining(
        family="UniSRec", version=1, sources=sources, encoder="hash", config=config, epochs=epochs, seed=0
    )


def store(results: Path, method: str, greater: list[int], *, role: str = "paper", **others: Any) -> Job:
    """A run; what a job takes goes to the job, the rest to the record."""
    of_job = {"target", "seed", "setting", "sources", "encoder", "config", "pretraining", "few_shot", "control"}
    job = make_job(method, **{name: value for name, value in others.items() if name in of_job})
    about: dict[str, Any] = {name: value for name, value in others.items() if name not in of_job}
    if job.pretraining:
        about = {"pretraining": make_pretraining(60.0, str(job.pretraining))} | about
    store_run(results, job, greater, role=role, **about)
    return job


def only(results: Path) -> Stored:
    (part,) = stored("small", results)
    return part


def points(panel: Axes) -> dict[str, tuple[list[float], list[float]]]:
    """x and y of each labelled line with intervals."""
    found = {}
    for container in panel.containers:
        if isinstance(container, ErrorbarContainer):
            line = container.lines[0]
            assert line is not None
            found[str(container.get_label())] = (xs(line), ys(line))
    return found


def xs(line: Line2D | None) -> list[float]:
    assert line is not None
    return np.asarray(line.get_xdata(), float).tolist()


def ys(line: Line2D | None) -> list[float]:
    assert line is not None
    return np.asarray(line.get_ydata(), float).tolist()


def texts(figure: Figure) -> list[Text]:
    return [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]  # type: ignore[attr-defined]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    store_context(folder)
    return folder


@pytest.fixture
def rich(results: Path) -> Path:
    """A suite that allows every figure of a target, with names that are no names."""
    for seed in (0, 1):
        store(results, "SASRec", FIRST, seed=seed)
        store(results, "UniSRec_t-scratch", SECOND, seed=seed, role="control")
        for epochs in (5, 20):
            store(results, "UniSRec_t", FIRST, seed=seed, pretraining=pretraining(epochs))
    store(results, "UniSRec_t", WORSE, pretraining=pretraining(5, ("a",)))
    for experts in (1, 2):
        store(results, "UniSRec_t", WORSE, config={"experts": experts}, pretraining=pretraining(5))
    store(results, "UniSRec_t-zeroshot", WORSE, setting="zero-shot", pretraining=pretraining(5))
    store(results, "UniSRec_t-zeroshot", SECOND, setting="zero-shot", pretraining=pretraining(0))
    store(results, HOSTILE, SECOND, role="row", config={"what$": HOSTILE})
    return results


class TestOverall:
    def test_points_intervals_and_printed_values(self, results: Path) -> None:
        store_run(results, make_job("SASRec"), FIRST, target=SCIENTIFIC)
        store_run(results, make_job("Popularity"), WORSE, target=SCIENTIFIC, role="control")
        data = overall.take(board_of(results).tables[0])
        assert data is not None
        first, second = data.entries
        assert (first.label, first.role, first.printed["NDCG@10"]) == ("SASRec", "paper", 0.0553)
        assert (second.label, second.printed["NDCG@10"]) == ("Popularity", None)
        figure = overall.draw(data)
        for panel, metric in zip(figure.axes, ("NDCG@10", "Recall@50"), strict=True):
            assert panel.get_title() == metric
            drawn = [container.lines for container in panel.containers if isinstance(container, ErrorbarContainer)]
            for ranks, (line, _, (bar,)) in zip((FIRST, WORSE), drawn, strict=True):
                users = per_user(metric, ranks, np.zeros(USERS, int))
                expected = paired_t(users, np.zeros(USERS))
                assert xs(line)[0] == pytest.approx(users.mean())
                low, high = (float(x) for x, _ in bar.get_segments()[0])
                assert (low, high) == pytest.approx((expected.low, expected.high))
        printed = [line for line in figure.axes[0].lines if line.get_marker() == "|" and len(xs(line)) == 1]
        assert 0.0553 in [xs(line)[0] for line in printed]
        assert figure.axes[0].yaxis_inverted()
        assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["SASRec", "Popularity"]
        assert "0.6667" in {text.get_text() for text in texts(figure)}
        assert "highest for SASRec (0.6667) and lowest for Popularity (0.3333)" in overall.words(data).alt

    def test_a_target_without_results_has_no_figure(self, results: Path) -> None:
        store(results, "SASRec", FIRST)
        table = board_of(results).tables[0]
        assert overall.take(replace(table, rows=())) is None


class TestSlices:
    def test_bars_gains_and_values(self, results: Path) -> None:
        """In [0, 5) SASRec hits 4 of 5 and the other 2 of 5; the one user beyond has no hit and no interval."""
        store(results, "SASRec", FIRST)
        store(results, "Other", WORSE, role="row")
        part = only(results)
        assert part.context is not None
        data = slices.take(part, slices_of(part.context, "toy")[0])
        assert data is not None
        assert (data.slicing, data.users) == (TRAIN_COUNT, (5, 1, 0, 0, 0))
        count, gain, value = slices.draw(data).axes
        (bars,) = (container for container in count.containers if isinstance(container, BarContainer))
        assert [bar.get_height() for bar in bars] == [5, 1, 0, 0, 0]
        assert points(gain)["Other"][1] == pytest.approx([-0.5])
        assert points(value)["SASRec"][1] == pytest.approx([0.8])
        assert points(value)["Other"][1] == pytest.approx([0.4])
        hollow = [line for line in value.lines if line.get_markerfacecolor() == "white"]
        assert [ys(line) for line in hollow] == [[0.0], [0.0]]
        assert [text.get_text() for text in value.get_xticklabels()][:2] == ["[0, 5)", "[5, 10)"]
        assert "Other: [0, 5) -50%" in slices.words(data).alt

    def test_the_best_pre_trained_row_and_two_others_without_replicas(self, results: Path) -> None:
        store(results, "SASRec", SECOND)
        store(results, "UniSRec_t", WORSE, pretraining=pretraining())
        store(results, "UniSRec_t+ID", SECOND, pretraining=pretraining())
        store(results, "Copy", FIRST, role="replica")
        store(results, "A", FIRST, role="control")
        store(results, "B", [0] * 6, role="control")
        store(results, "C", WORSE, role="control")
        part = only(results)
        assert part.context is not None
        data = slices.take(part, slices_of(part.context, "toy")[0])
        assert data is not None
        assert [label for label, _ in data.lines] == ["UniSRec_t+ID", "B", "A"]

    def test_without_reference_or_context_there_is_none(self, results: Path) -> None:
        store(results, "Other", FIRST)
        part = only(results)
        assert part.context is not None
        slicing = slices_of(part.context, "toy")[0]
        assert slices.take(part, slicing) is None
        store(results, "SASRec", FIRST)
        assert slices.take(only(results), slicing) is not None
        (results / "small" / "toy" / "context.parquet").unlink()
        assert slices.take(only(results), slicing) is None


class TestCost:
    def test_pre_training_is_shared_and_the_front_is_not_beaten(self, results: Path) -> None:
        """Pre-training takes 120 core seconds, here shared by two runs; each run itself takes 4."""
        store(results, "Cheap", WORSE)
        store(results, "Good", FIRST, pretraining=pretraining())
        store(results, "Beaten", WORSE, pretraining=pretraining())
        part = only(results)
        data = cost.take(part, cost.shares_of([part]))
        assert data is not None
        assert {entry.label: entry.seconds for entry in data.entries} == {"Cheap": 4.0, "Good": 64.0, "Beaten": 64.0}
        assert [entry.label for entry in data.front] == ["Cheap", "Good"]
        panel = cost.draw(data).axes[0]
        drawn = {(xs(line)[0], ys(line)[0]) for line in panel.lines}
        assert drawn == {(4.0, 2 / 6), (64.0, 4 / 6), (64.0, 2 / 6)}
        steps = next(line for line in panel.lines if len(xs(line)) > 1)
        assert xs(steps)[:3] == [4.0, 64.0, 64.0]
        assert panel.get_xscale() == "log"
        assert "Cheap (0.3333 for 4 s) and Good (0.6667 for 64 s)" in cost.words(data).alt

    def test_labels_of_a_crowd_overlap_neither_each_other_nor_points(self) -> None:
        rng = np.random.default_rng(0)
        entries = tuple(
            cost.Entry(
                label=f"Method-{n}", role="paper", seconds=float(10 ** rng.uniform(0, 3)), quality=rng.uniform(0, 0.07)
            )
            for n in range(16)
        )
        figure = cost.draw(cost.Costs(title="Crowd", metric="NDCG@10", entries=entries))
        renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
        panel = figure.axes[0]
        named = [text for text in panel.texts if text.get_text()]
        assert {text.get_text() for text in named} == {entry.label for entry in entries}
        boxes = np.array([text.get_window_extent(renderer).extents for text in named])
        shared = placement.overlap(boxes, boxes)
        np.fill_diagonal(shared, 0)
        assert shared.max() == 0
        centres = panel.transData.transform([(entry.seconds, entry.quality) for entry in entries])
        assert placement.overlap(boxes, np.hstack([centres - 1, centres + 1])).max() == 0

    def test_long_names_stand_in_a_key(self) -> None:
        entries = tuple(
            cost.Entry(label=f"Method {'x' * 40} {n}", role="paper", seconds=10.0 - n, quality=0.1) for n in range(3)
        )
        figure = cost.draw(cost.Costs(title="Long", metric="NDCG@10", entries=entries))
        assert [text.get_text() for text in figure.axes[0].texts if text.get_text()] == ["3", "2", "1"]
        shown = [text.get_text() for text in figure.texts]
        assert [name for name in shown if name.startswith("Method")] == [entry.label for entry in reversed(entries)]


class TestPlacement:
    FRAME = np.array([0.0, 0.0, 300.0, 300.0])

    def test_a_label_alone_touches_its_point(self) -> None:
        (box,) = placement.place(np.array([[150.0, 150.0]]), np.array([[40.0, 10.0]]), self.FRAME, radius=4)
        near = np.clip(150, box[:2], box[2:])
        assert np.hypot(*(near - 150)) <= 4.01
        assert tuple(box[2:] - box[:2]) == pytest.approx((40, 10))

    def test_labels_at_the_edge_stay_inside(self) -> None:
        corners = np.array([[2.0, 2.0], [298.0, 2.0], [2.0, 298.0], [298.0, 298.0]])
        boxes = placement.place(corners, np.tile([60.0, 10.0], (4, 1)), self.FRAME)
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2:] <= 300).all()

    def test_the_same_points_give_the_same_places(self) -> None:
        points = np.random.default_rng(1).uniform(0, 300, (12, 2))
        sizes = np.tile([50.0, 10.0], (12, 1))
        np.testing.assert_array_equal(
            placement.place(points, sizes, self.FRAME), placement.place(points, sizes, self.FRAME)
        )

    def test_nothing_to_place(self) -> None:
        assert placement.place(np.empty((0, 2)), np.empty((0, 2)), self.FRAME).shape == (0, 4)


class TestCurves:
    @staticmethod
    def curve(*values: float) -> tuple[Epoch, ...]:
        return tuple(Epoch(epoch=n + 1, loss=1.0, valid=value, seconds=0.5) for n, value in enumerate(values))

    def test_the_mean_ends_with_the_shortest_seed(self, results: Path) -> None:
        store(results, "SASRec", FIRST, seed=0, learning_curve=self.curve(0.1, 0.3, 0.2), best_epoch=2)
        store(results, "SASRec", FIRST, seed=1, learning_curve=self.curve(0.3, 0.4), best_epoch=2)
        store(results, "Popularity", WORSE, learning_curve=(), best_epoch=None)
        data = curves.take(only(results))
        assert data is not None
        (row,) = data.rows
        assert row.mean == ((1, 2), pytest.approx((0.2, 0.35)))
        assert row.best == ((2, 0.3), (2, 0.4))
        (panel,) = curves.draw(data).axes
        drawn = [ys(line) for line in panel.lines]
        assert drawn == [[0.1, 0.3, 0.2], [0.3, 0.4], pytest.approx([0.2, 0.35]), [0.3, 0.4]]
        assert "SASRec 0.3500 at epoch 2" in curves.words(data).alt

    def test_one_panel_a_row_with_the_reference_behind(self, results: Path) -> None:
        for method in ("SASRec", "A", "B", "C"):
            store(results, method, FIRST)
        data = curves.take(only(results))
        assert data is not None
        figure = curves.draw(data)
        shown = [panel for panel in figure.axes if panel.get_visible()]
        assert [panel.get_title() for panel in shown] == ["A", "B", "C", "SASRec"]
        assert [":" in [line.get_linestyle() for line in panel.lines] for panel in shown] == [True, True, True, False]

    def test_nothing_trained_nothing_shown(self, results: Path) -> None:
        store(results, "Popularity", FIRST, learning_curve=(), best_epoch=None)
        assert curves.take(only(results)) is None


class TestPretrainingLength:
    def test_epochs_in_order_beside_the_row_from_scratch(self, results: Path) -> None:
        store(results, "UniSRec_t", FIRST, pretraining=pretraining(20))
        store(results, "UniSRec_t", WORSE, pretraining=pretraining(5))
        store(results, "UniSRec_t-scratch", SECOND, role="control")
        store(results, "UniSRec_t-zeroshot", WORSE, setting="zero-shot", pretraining=pretraining(0))
        store(results, "UniSRec_t-zeroshot", SECOND, setting="zero-shot", pretraining=pretraining(5))
        data = pretraining_length.take(only(results))
        assert data is not None
        tuned, zero_shot = sorted(data.tracks, key=lambda track: track.zero_shot)
        assert (tuned.label, tuned.epochs, zero_shot.epochs) == ("UniSRec_t", (5, 20), (0, 5))
        assert tuned.scratch == ("UniSRec_t-scratch", pytest.approx((3 / 6, 5 / 6)))
        assert zero_shot.scratch is None
        zeros = np.zeros(USERS, int)
        own, other = (per_user("NDCG@10", ranks, zeros) for ranks in (WORSE, SECOND))
        apart = paired_t(own, other)
        at_five = tuned.values[0][0]
        assert at_five.value == pytest.approx(2 / 6)
        assert (at_five.low, at_five.high) == pytest.approx(
            (at_five.value + apart.low - apart.difference, at_five.value + apart.high - apart.difference)
        )
        assert at_five.low is not None
        assert at_five.high is not None
        assert (at_five.low <= 3 / 6 <= at_five.high) == (apart.p >= 0.05)
        panels = pretraining_length.draw(data).axes
        assert [panel.get_title() for panel in panels] == [
            f"{metric}, {kind}" for kind in ("fine-tuned", "zero-shot") for metric in ("NDCG@10", "Recall@50")
        ]
        assert points(panels[0])["UniSRec_t"][1] == pytest.approx([2 / 6, 4 / 6])
        assert points(panels[2])["UniSRec_t-zeroshot"][1] == pytest.approx([2 / 6, 3 / 6])
        level = next(line for line in panels[0].lines if line.get_label() == "UniSRec_t-scratch")
        assert ys(level) == pytest.approx([0.5, 0.5])

    def test_one_length_is_no_figure(self, results: Path) -> None:
        store(results, "UniSRec_t", FIRST, pretraining=pretraining(20))
        store(results, "UniSRec_t", FIRST, pretraining=pretraining(5), config={"freeze": True})
        assert pretraining_length.take(only(results)) is None


class TestAblation:
    def test_variants_less_the_first_row(self, results: Path) -> None:
        zeros = np.zeros(USERS, int)
        jobs = [
            store(results, "UniSRec_t", FIRST, config={"experts": 8}, pretraining=pretraining(item_drop=0.2)),
            store(results, "UniSRec_t", SECOND, config={"experts": 1}, pretraining=pretraining(item_drop=0.2)),
            store(results, "UniSRec_t", WORSE, config={"experts": 8}, pretraining=pretraining(item_drop=0.0)),
            store(results, "UniSRec_t-scratch", WORSE, config={"experts": 8}, role="control"),
        ]
        write_plan(results, "small", map(planned, jobs))
        data = ablation.take(only(results))
        assert data is not None
        (method,) = data.methods
        assert (method.full, method.values) == ("UniSRec_t", pytest.approx((4 / 6, 5 / 6)))
        assert method.variants == ("experts=1", "item_drop=0.0", "no pre-training")
        found = dict(zip(method.variants, method.differences[0], strict=True))
        expected = paired_t(per_user("NDCG@10", SECOND, zeros), per_user("NDCG@10", FIRST, zeros))
        assert found["experts=1"] == Estimate(value=expected.difference, low=expected.low, high=expected.high)
        assert found["no pre-training"].value == pytest.approx(-2 / 6)
        panel = ablation.draw(data).axes[0]
        widths = [bar.get_width() for one in panel.containers if isinstance(one, BarContainer) for bar in one]
        assert widths == pytest.approx([one.value for one in method.differences[0]])
        assert [text.get_text() for text in panel.get_yticklabels()] == list(method.variants)

    def test_controls_less_the_plain_row(self, results: Path) -> None:
        given = {"shuffled": WORSE, None: FIRST, "seen-masked": SECOND}
        for method, before in {"UniSRec_t": pretraining(), "UniSRec_t-scratch": None}.items():
            jobs = [store(results, method, ranks, control=name, pretraining=before) for name, ranks in given.items()]
            write_plan(results, "small", map(planned, jobs))
        store(results, "Markov", FIRST, control="shuffled")
        data = ablation.take(only(results))
        assert data is not None
        full, scratch = data.methods
        assert (full.full, full.values[0]) == ("UniSRec_t", pytest.approx(4 / 6))
        assert full.variants == ("shuffled", "seen-masked", "no pre-training")
        assert [one.value for one in full.differences[0]] == pytest.approx([-2 / 6, -1 / 6, 0])
        assert scratch.variants == ("shuffled", "seen-masked")

    def test_what_was_taken_something_from_is_in_no_other_figure(self, results: Path) -> None:
        for epochs in (5, 20):
            store(results, "UniSRec_t", FIRST, pretraining=pretraining(epochs))
        store(results, "UniSRec_t", WORSE, pretraining=pretraining(5), control="shuffled")
        for name in (None, "seen-masked"):
            store(results, "SASRec", SECOND, control=name)
        part = only(results)
        data = pretraining_length.take(part)
        assert data is not None
        (track,) = data.tracks
        assert (track.label, track.epochs) == ("UniSRec_t", (5, 20))
        costs = cost.take(part, cost.shares_of([part]))
        assert costs is not None
        assert not [entry.label for entry in costs.entries if "shuffled" in entry.label or "masked" in entry.label]
        (slicing,) = (one for one in slices_of(part.context, "toy") if one.name == TRAIN_COUNT)  # type: ignore[arg-type]
        sliced = slices.take(part, slicing)
        assert sliced is not None
        assert len(sliced.lines) == 2

    def test_other_sources_or_lengths_are_no_ablation(self, results: Path) -> None:
        for epochs in (1, 2, 3):
            store(results, "UniSRec_t", FIRST, pretraining=pretraining(epochs))
        for name in ("a", "b", "c"):
            store(results, "UniSRec_t+ID", FIRST, sources=(name,), pretraining=pretraining(5, (name,)))
        assert ablation.take(only(results)) is None


class TestSources:
    def test_none_first_and_all_last(self, results: Path) -> None:
        for names, ranks in ((("a", "b"), FIRST), (("a",), SECOND), (("b",), WORSE)):
            store(results, "UniSRec_t", ranks, sources=names, pretraining=pretraining(5, names))
        store(results, "UniSRec_t-scratch", SECOND, role="control")
        data = sources.take(only(results))
        assert data is not None
        (method,) = data.methods
        assert (method.sources[0], method.sources[-1]) == ("none", "all 2")
        found = dict(zip(method.sources, method.values[0], strict=True))
        assert {name: one.value for name, one in found.items()} == pytest.approx(
            {"none": 3 / 6, "a": 3 / 6, "b": 2 / 6, "all 2": 4 / 6}
        )
        assert found["none"].low is None
        # a has the very ranks of none, so their difference is 0 and so is its interval
        assert (found["a"].low, found["a"].high) == pytest.approx((3 / 6, 3 / 6))
        panel = sources.draw(data).axes[0]
        drawn = [xs(one.lines[0])[0] for one in panel.containers if isinstance(one, ErrorbarContainer)]
        assert drawn == pytest.approx([one.value for one in method.values[0]])

    def test_the_same_sources_are_no_figure(self, results: Path) -> None:
        for epochs in (1, 2):
            store(results, "UniSRec_t", FIRST, pretraining=pretraining(epochs))
        assert sources.take(only(results)) is None


class TestCriticalDifference:
    RANKING = critical_difference.Ranking(
        labels=("A", "B", "C", "D"), ranks=(1.0, 1.8, 2.7, 4.0), difference=1.0, targets=5, metric="NDCG@10"
    )

    def test_ranks_over_five_targets(self, tmp_path: Path) -> None:
        for number in range(5):
            target = f"t{number}"
            store(tmp_path, "SASRec", FIRST, target=target)
            store(tmp_path, "Popularity", FIRST if number == 0 else WORSE, target=target, role="control")
            store(tmp_path, "Copy", FIRST, target=target, role="replica")
            if number:
                store(tmp_path, "Sometimes", FIRST, target=target, role="row")
        data = critical_difference.take(board_of(tmp_path))
        assert data is not None
        assert (data.labels, data.ranks, data.targets) == (("SASRec", "Popularity"), pytest.approx((1.1, 1.9)), 5)
        assert data.difference == pytest.approx(nemenyi(2, 5))

    def test_four_targets_are_too_few(self, tmp_path: Path) -> None:
        for number in range(4):
            for method in ("SASRec", "Popularity"):
                store(tmp_path, method, FIRST, target=f"t{number}")
        assert critical_difference.take(board_of(tmp_path)) is None

    def test_bars_join_what_is_not_told_apart(self) -> None:
        assert self.RANKING.groups == ((0, 1), (1, 2))
        panel = critical_difference.draw(self.RANKING).axes[0]
        bars = [line for line in panel.lines if line.get_linewidth() == 3.5]
        reach = 0.006 * 3
        spans = [tuple(xs(line)) for line in bars]
        assert spans == [pytest.approx((1 - reach, 1.8 + reach)), pytest.approx((1.8 - reach, 2.7 + reach))]
        assert len({ys(line)[0] for line in bars}) == 2
        shown = {text.get_text() for text in panel.texts}
        assert {"A  1.00", "4.00  D", "critical difference 1.00"} <= shown
        assert "Not told apart: A and B; B and C." in critical_difference.words(self.RANKING).alt

    def test_methods_far_apart_have_no_bar(self) -> None:
        apart = critical_difference.Ranking(
            labels=("A", "B"), ranks=(1.0, 2.0), difference=0.5, targets=9, metric="NDCG@10"
        )
        assert apart.groups == ()
        assert "All are told apart." in critical_difference.words(apart).alt


def estimate(value: float) -> Estimate:
    return Estimate(value=value, low=value - 0.01, high=value + 0.01)


def few() -> few_shot.FewShot:
    line = few_shot.Shot(
        label="A", shares=(0.01, 0.1, 1.0), values=tuple(map(estimate, (0.1, 0.2, 0.3))), untrained=estimate(0.15)
    )
    return few_shot.FewShot(title="Toy", metric="NDCG@10", lines=(line,))


def alike() -> Similarity:
    return Similarity(
        title="Toy",
        edges=(-1.0, 0.0, 0.5, 1.0),
        histograms=(
            Distribution(label="before", counts=(0, 1, 3), mean=0.62, sd=0.3),
            Distribution(label="after", counts=(2, 1, 1), mean=0.01, sd=0.6),
        ),
    )


def test_few_shot_lines_carry_their_values() -> None:
    panel = few_shot.draw(few()).axes[0]
    assert points(panel)["A"] == (pytest.approx([0.01, 0.1, 1.0]), pytest.approx([0.1, 0.2, 0.3]))
    assert [text.get_text() for text in panel.get_xticklabels()] == ["0", "1 %", "10 %", "100 %"]
    assert any(ys(line) == [0.15] and xs(line)[0] < 0.005 for line in panel.lines)
    assert "A: 0.1500 zero-shot, 0.1000 at 1 %, 0.2000 at 10 %" in few_shot.words(few()).alt


def test_few_shot_rows_make_a_line_from_none_to_all(results: Path) -> None:
    """The full row is at 100 %, the zero-shot row of the same pre-training at 0, other rows are left out."""
    for share, greater in ((0.25, SECOND), (0.05, WORSE)):
        store(results, "UniSRec_t", greater, setting="few-shot", few_shot=share, pretraining=pretraining(5))
        store(results, "SASRec", WORSE, setting="few-shot", few_shot=share)
    store(results, "UniSRec_t", FIRST, pretraining=pretraining(5))
    store(results, "UniSRec_t", WORSE, pretraining=pretraining(20))
    store(results, "UniSRec_t-zeroshot", WORSE, setting="zero-shot", pretraining=pretraining(5))
    store(results, "UniSRec_t-zeroshot", SECOND, setting="zero-shot", pretraining=pretraining(20))
    store(results, "BERT4Rec", FIRST)
    part = only(results)
    data = few_shot.take(part)
    assert data is not None
    ids, tuned = sorted(data.lines, key=lambda line: line.label)
    first, second, worse = (
        float(per_user("NDCG@10", ranks, np.zeros(USERS, int)).mean()) for ranks in (FIRST, SECOND, WORSE)
    )
    assert (ids.label, ids.shares, ids.untrained) == ("SASRec", (0.05, 0.25), None)
    assert tuned.label.startswith("UniSRec_t (")
    assert tuned.shares == (0.05, 0.25, 1.0)
    assert [value.value for value in tuned.values] == pytest.approx([worse, second, first])
    assert tuned.untrained is not None
    assert tuned.untrained.value == pytest.approx(worse)
    for figure in (ablation, sources):
        assert figure.take(part) is None, "shares are neither variants nor sources"


def test_without_few_shot_rows_there_is_no_such_figure(rich: Path) -> None:
    assert few_shot.take(only(rich)) is None


def test_similarities_are_densities_with_their_means() -> None:
    data = alike()
    panel = similarity.draw(data).axes[0]
    before, after = ([float(y) for y in patch.get_data().values] for patch in panel.patches)  # type: ignore[attr-defined]
    assert before == pytest.approx([0, 0.5, 1.5])
    assert after == pytest.approx([0.5, 0.5, 0.5])
    assert [xs(line)[0] for line in panel.lines] == [0.62, 0.01]
    assert "before, mean 0.62" in similarity.words(data).alt


def drawings(parts: list[Stored], results: Path) -> list[Figure]:
    """Every figure there is, once."""
    board = board_of(results)
    part = parts[0]
    assert part.context is not None
    made: list[tuple[Callable[[Any], Figure], Any]] = [
        (overall.draw, overall.take(board.tables[0])),
        (cost.draw, cost.take(part, cost.shares_of(parts))),
        (curves.draw, curves.take(part)),
        (pretraining_length.draw, pretraining_length.take(part)),
        (ablation.draw, ablation.take(part)),
        (sources.draw, sources.take(part)),
        (critical_difference.draw, TestCriticalDifference.RANKING),
        (few_shot.draw, few()),
        (similarity.draw, alike()),
        *((slices.draw, slices.take(part, slicing)) for slicing in slices_of(part.context, "toy")),
    ]
    assert all(data is not None for _, data in made)
    return [draw(data) for draw, data in made]


class TestLooks:
    def test_text_is_large_enough_and_nothing_leaves_the_figure(self, rich: Path) -> None:
        for figure in drawings(stored("small", rich), rich):
            assert figure.get_figwidth() == style.WIDTH
            assert min(float(text.get_fontsize()) for text in texts(figure)) >= style.SMALL
            with style.applied():
                figure.canvas.draw()
                drawn = figure.get_tightbbox(figure.canvas.get_renderer())  # type: ignore[attr-defined]
            assert drawn.x0 > -0.01
            assert drawn.y0 > -0.01
            assert drawn.x1 < figure.get_figwidth() + 0.01
            assert drawn.y1 < figure.get_figheight() + 0.01

    def test_lines_differ_without_colour(self) -> None:
        assert len({(mark.marker, str(mark.line)) for mark in style.SERIES}) == len(style.SERIES)
        assert len({mark.hatch for mark in style.SERIES}) == len(style.SERIES)
        assert len({mark.marker for mark in style.ROLES.values()}) == len(style.ROLES)

    def test_names_are_shown_as_they_are(self, results: Path) -> None:
        """A dollar sign in a method's name is no formula."""
        store(results, "SASRec", FIRST)
        store(results, "a$b^{c", WORSE)
        data = overall.take(board_of(results).tables[0])
        assert data is not None
        figure = overall.draw(data)
        with style.applied():
            figure.canvas.draw()
        assert "a$b^{c" in {text.get_text() for text in texts(figure)}

    @pytest.mark.parametrize(
        ("label", "expected"),
        [
            ("SASRec", "SASRec"),
            ("X (zero-shot; epochs=5)", "X\n(zero-shot; epochs=5)"),
            ("X (" + "a" * 20 + ", " + "b" * 20 + ")", "X\n(" + "a" * 20 + ",\n" + "b" * 20 + ")"),
            ("y" * 40, "y" * 29 + "…"),
        ],
    )
    def test_labels_are_wrapped_where_they_may_be(self, label: str, expected: str) -> None:
        assert style.wrapped(label) == expected

    def test_variants_are_said_shortly(self) -> None:
        variant = "config.freeze=True, pretraining.epochs=5, pretraining.config.item_drop=0.2, sources=a+b"
        assert short(variant) == "freeze=True, pre-training epochs=5, item_drop=0.2, sources=a+b"
        assert short("") == ""


class TestFiles:
    WORDS = Words(title="A & B", caption="How to read it.", alt="Rows <one> & two.")

    def test_no_date_no_program_and_a_description(self, tmp_path: Path) -> None:
        svg, png = save(few_shot.draw(few()), tmp_path, "few", self.WORDS)
        text = (tmp_path / svg).read_text()
        assert "<dc:date>" not in text
        assert "matplotlib.org" not in text
        assert "Rows &lt;one&gt; &amp; two." in text
        content = (tmp_path / png).read_bytes()
        assert not any(chunk in content for chunk in (b"tEXt", b"iTXt", b"tIME", b"zTXt"))
        assert {path.name for path in tmp_path.iterdir()} == {"few.svg", "few.png"}

    def test_the_same_bytes_whatever_the_users_settings(self, results: Path, tmp_path: Path) -> None:
        store(results, "SASRec", FIRST)
        store(results, "Popularity", WORSE, role="control")
        part = only(results)
        data = cost.take(part, {})
        assert data is not None
        save(cost.draw(data), tmp_path / "one", "cost", self.WORDS)
        with mpl.rc_context(THEIRS):
            save(cost.draw(data), tmp_path / "two", "cost", self.WORDS)
        for name in ("cost.svg", "cost.png"):
            assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
        height, width = np.asarray(imread(tmp_path / "one" / "cost.png")).shape[:2]
        assert width == round(style.WIDTH * 200)
        assert 200 < height < 3000

    def test_settings_are_left_as_they_were(self) -> None:
        before = dict(mpl.rcParams)
        few_shot.draw(few())
        assert dict(mpl.rcParams) == before


class TestWriting:
    NAMES = (
        "overall",
        "long-tail",
        "history",
        "ablation",
        "sources",
        "pretraining-length",
        "cost",
        "curves",
        "similarity",
    )

    def test_what_a_suite_allows(self, rich: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(write, "save", lambda figure, folder, name, words: (f"{name}.svg", f"{name}.png"))
        made = write_figures(stored("small", rich), board_of(rich), [alike()], tmp_path)
        assert {(one.name, one.target, one.track) for one in made} == {(name, "toy", "paper") for name in self.NAMES}
        assert {one.svg for one in made} == {f"figures/{name}-toy.svg" for name in self.NAMES}
        for one in made:
            assert one.words.title
            assert one.words.alt.endswith(".")
            assert "\n" not in one.words.alt

    @pytest.mark.soak
    def test_all_of_them_twice_are_the_same_bytes(self, rich: Path, tmp_path: Path) -> None:
        parts, board = stored("small", rich), board_of(rich)
        write_figures(parts, board, [alike()], tmp_path / "one")
        with mpl.rc_context(THEIRS):
            write_figures(parts, board, [alike()], tmp_path / "two")
        one, two = (
            {path.name: path.read_bytes() for path in (tmp_path / name / "figures").iterdir()}
            for name in ("one", "two")
        )
        assert one == two
        assert set(one) == {f"{name}-toy.{kind}" for name in self.NAMES for kind in ("svg", "png")}
        assert max(map(len, one.values())) < 400_000

    def test_figures_without_data_are_absent(self, results: Path, tmp_path: Path) -> None:
        store(results, "Popularity", FIRST, learning_curve=(), best_epoch=None)
        made = write_figures(stored("small", results), board_of(results), [None], tmp_path)
        assert [one.name for one in made] == ["overall"]
        assert {path.name for path in (tmp_path / "figures").iterdir()} == {"overall-toy.svg", "overall-toy.png"}

    def test_several_targets_and_tracks(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Ranks across targets come first; files of two tracks of a target don't replace each other."""
        for number in range(5):
            for method, ranks in (("SASRec", FIRST), ("Popularity", WORSE)):
                store(tmp_path, method, ranks, target=f"t{number}", learning_curve=(), best_epoch=None)
        parts, board = stored("small", tmp_path), board_of(tmp_path)
        parts.append(replace(parts[0], track="strict"))
        board = replace(board, tables=(*board.tables, replace(board.tables[0], track="strict")))
        monkeypatch.setattr(write, "save", lambda figure, folder, name, words: (f"{name}.svg", f"{name}.png"))
        made = write_figures(parts, board, [None] * len(parts), tmp_path)
        assert (made[0].name, made[0].target, made[0].svg) == ("ranks", None, "figures/ranks.svg")
        files = [one.svg for one in made]
        assert len(set(files)) == len(files)
        assert {"figures/overall-t0-paper.svg", "figures/overall-t0-strict.svg", "figures/cost-t1.svg"} <= set(files)


def test_drawing_loads_neither_torch_nor_pyplot() -> None:
    code = (
        "import sys, benchmark.report.figures.write, benchmark.report.figures.few_shot; "
        "print([name for name in ('torch', 'baselines', 'unisrec', 'matplotlib.pyplot') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_rows_keep_the_order_of_the_plan(results: Path) -> None:
    write_plan(results, "small", [planned(store(results, method, FIRST)) for method in ("B", "A")])
    assert [line.label for line in lines_of(only(results))] == ["B", "A"]
