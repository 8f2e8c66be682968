"""Tuning: the same number of trials for every row, judged on validation alone, and a list that can be checked."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from in_process import jobs_run_here
from results_tree import USERS, board_of, make_job, make_key, make_ranks, make_record, store_context, store_run
from test_campaign import Done, Place

from benchmark import trials
from benchmark.errors import InputError
from benchmark.layout import RANKS
from benchmark.method import registry
from benchmark.precision import own_first, resolve_precision
from benchmark.questions import Ranks
from benchmark.record import Planned, Tuning
from benchmark.report.export import render_json
from benchmark.report.latex import render_tables
from benchmark.report.leaderboard import render_terminal
from benchmark.report.markdown import render_markdown
from benchmark.report.tables import Leaderboard, Row
from benchmark.store import list_runs, read_run, write_plan, write_run
from benchmark.trials import LEARNING_RATES, Trial, TunedRow, choose, edge, order, shortfall, value
from benchmark.tuning import space_of
from benchmark.verify import verify

SPACE: dict[str, tuple[Any, ...]] = {"learning_rate": (0.001, 0.01), "dropout": (0.2, 0.5)}
GIVEN = {"dropout": 0.5, "learning_rate": 0.001}


# --- which trials, and in which order


def test_the_defaults_come_first_and_the_rest_of_the_grid_by_its_hash() -> None:
    found = order("demo", "shop", "SASRec", SPACE, GIVEN)
    others = [{"dropout": dropout, "learning_rate": rate} for dropout, rate in ((0.2, 0.001), (0.2, 0.01), (0.5, 0.01))]

    def drawn(settings: dict[str, float]) -> str:
        text = json.dumps(["tuning", "demo", "shop", "SASRec", json.dumps(settings)], separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    assert found == [GIVEN, *sorted(others, key=drawn)]


@given(
    st.dictionaries(st.sampled_from("abcd"), st.lists(st.integers(0, 5), min_size=1, unique=True), min_size=1),
    st.integers(-1, 5),
)
def test_every_point_is_tried_once_in_an_order_of_its_own(space: dict[str, list[int]], default: int) -> None:
    defaults = dict.fromkeys(space, default)
    found = order("s", "t", "m", space, defaults)
    grid = [dict(zip(space, point, strict=True)) for point in itertools.product(*space.values())]
    assert found[0] == defaults
    assert sorted(map(str, (sorted(each.items()) for each in found[1:]))) == sorted(
        str(sorted(point.items())) for point in grid if point != defaults
    )
    assert found == order("s", "t", "m", dict(reversed(space.items())), defaults)
    # a value more moves none of the others
    more = {name: [*values, 6] for name, values in space.items()}
    assert [each for each in order("s", "t", "m", more, defaults) if 6 not in each.values()] == found


def test_rows_have_orders_of_their_own() -> None:
    space = {"learning_rate": LEARNING_RATES, "dropout": (0.1, 0.2, 0.3)}
    orders = [
        order(*name, space, GIVEN) for name in (("s", "t", "m"), ("s", "t", "n"), ("s", "u", "m"), ("r", "t", "m"))
    ]
    assert not any(one == other for one, other in itertools.combinations(orders, 2))


def test_the_spaces_of_the_roster_leave_room_for_equal_budgets() -> None:
    """Eight configurations and the defaults of every method that is trained; what starts from pre-trained weights may
    only try what leaves their sizes as they are."""
    for method in registry().methods.values():
        assert bool(method.space) == method.trained, method.name
        if method.trained:
            assert math.prod(map(len, method.space.values())) * len(LEARNING_RATES) >= 8, method.name
        assert not method.pretraining or not method.space.keys() & {"width", "layers", "heads", "inner", "experts"}


@pytest.mark.parametrize(
    ("space", "says"),
    [
        ({"dropuot": (0.1,)}, "did you mean 'dropout'"),
        ({"dropout": (0.1, 1.5)}, "dropout is 1.5"),
        ({"heads": ("2",)}, "expected a int"),
        ({"learning_rate": (0.1,)}, "must not name learning_rate"),
    ],
)
def test_a_space_that_the_method_can_not_take_is_refused(space: dict[str, tuple[Any, ...]], says: str) -> None:
    sasrec = registry().method("SASRec")
    assert space_of(sasrec) == {"learning_rate": LEARNING_RATES, "dropout": (0.2, 0.5)}
    with pytest.raises(InputError, match=says):
        space_of(dataclasses.replace(sasrec, space=space))


# --- what a trial is worth


def trial(valid: float | None, *, failed: str | None = None, **settings: Any) -> Trial:
    return Trial(settings=settings, key="0" * 64, valid=valid, failed=failed)


def row(*tried: Trial, space: dict[str, tuple[Any, ...]] | None = None, chosen: int | None = None) -> TunedRow:
    return TunedRow(
        target="toy",
        method="SASRec",
        setting="full",
        space=space or {"learning_rate": LEARNING_RATES},
        trials=tried,
        chosen=choose(tried) if chosen is None else chosen,
    )


def valid_ranks(greater: list[int], equal: list[int]) -> Ranks:
    tests = make_ranks([9] * USERS)
    return Ranks(
        valid_greater=np.array(greater, np.int32),
        valid_equal=np.array(equal, np.int32),
        test_greater=tests.test_greater,
        test_equal=tests.test_equal,
    )


def test_the_value_is_the_tie_averaged_ndcg_of_validation_and_tests_stay_unread(tmp_path: Path) -> None:
    ranks = valid_ranks([0, 1, 9, 10, 0, 50], [0, 0, 0, 0, 1, 0])
    folder = write_run(tmp_path, make_record(make_job(), ranks), ranks)
    first, second, tenth = 1, 1 / math.log2(3), 1 / math.log2(11)
    expected = (first + second + tenth + 0 + (first + second) / 2 + 0) / 6
    assert value(folder) == pytest.approx(expected, abs=1e-15)
    table = pq.read_table(folder / RANKS)
    # without the test columns, and with nonsense in them, it is the same
    pq.write_table(table.drop_columns(["test_greater", "test_equal"]), folder / RANKS)
    assert value(folder) == pytest.approx(expected, abs=1e-15)
    pq.write_table(table.set_column(3, "test_greater", pa.array(["nonsense"] * USERS)), folder / RANKS)
    assert value(folder) == pytest.approx(expected, abs=1e-15)
    pq.write_table(table.set_column(1, "valid_greater", pa.array([-1] * USERS, pa.int32())), folder / RANKS)
    with pytest.raises(InputError, match="valid_greater of user 0 is negative"):
        value(folder)


def test_the_highest_value_is_chosen_unrounded_and_the_first_of_equals() -> None:
    assert choose([trial(0.1), trial(0.1 + 1e-12), trial(None, failed="diverged")]) == 1
    assert choose([trial(0.1), trial(0.1), trial(0.05)]) == 0
    assert choose([trial(None), trial(0.0)]) == 1
    assert choose([trial(None, failed="diverged")]) is None


@pytest.mark.parametrize(
    ("rate", "says"),
    [
        (0.0003, "low edge"),
        (0.0001, "low edge"),
        (0.001, None),
        (0.003, None),
        (0.01, "high edge"),
        (0.05, "high edge"),
    ],
)
def test_a_learning_rate_at_the_edge_of_its_grid_is_said(rate: float, says: str | None) -> None:
    found = row(trial(0.1, learning_rate=rate))
    assert (edge(found) is None) == (says is None)
    assert says is None or says in trials.note(found)
    assert edge(row(trial(None, learning_rate=rate))) is None


def test_why_a_row_has_no_more_trials_is_said() -> None:
    tried = [trial(0.1, learning_rate=rate) for rate in (0.005, *LEARNING_RATES)]
    assert shortfall(row(*tried)) == "there is nothing more in its space"
    assert shortfall(row(*tried[:3])) == "no more were asked for"
    failed = trial(None, failed="diverged", learning_rate=0.01)
    assert shortfall(row(*tried[:2], failed, failed)) == "2 of 4 trials failed: diverged"
    assert shortfall(row(tried[0], trial(None, learning_rate=0.01))) == "1 of 2 trials have no result yet"


# --- the list beside the runs: reports, and what verify finds


def tuned_tree(results: Path, *, methods: dict[str, list[list[int]]]) -> dict[str, TunedRow]:
    """Runs under the trials of suite ``small``, ranks on validation as given, and the list of them."""
    rows = {}
    for method, ranks in methods.items():
        settings = order("small", "toy", method, SPACE, GIVEN)
        tried = []
        for each, greater in zip(settings, ranks, strict=False):
            job = make_job(
                method,
                suite="small+trials",
                config={"dropout": each["dropout"]},
                training={"learning_rate": each["learning_rate"]},
            )
            given_ranks = valid_ranks(greater, [0] * USERS)
            folder = write_run(results, make_record(job, given_ranks), given_ranks)
            tried.append(Trial(settings=each, key=make_key(job)[0], valid=value(folder), failed=None))
        rows[method] = TunedRow(
            target="toy", method=method, setting="full", space=SPACE, trials=tuple(tried), chosen=choose(tried)
        )
    store_context(results, "small+trials")
    store_context(results, "small")
    trials.write(results, "small", rows.values())
    write_plan(
        results,
        "small",
        [
            Planned(target="toy", method=name, setting="full", seed=0, key=found.best.key)
            for name, found in rows.items()
            if found.best
        ],
    )
    return rows


BAD, GOOD = [20] * USERS, [0] * USERS


@pytest.fixture
def tree(tmp_path: Path) -> tuple[Path, dict[str, TunedRow]]:
    return tmp_path, tuned_tree(tmp_path, methods={"SASRec": [BAD, GOOD, BAD], "FDSA": [BAD, GOOD]})


def only(board: Leaderboard, method: str) -> Row:
    return next(found for found in board.tables[0].rows if found.method == method)


def test_a_report_shows_each_budget_and_marks_what_had_less(tree: tuple[Path, dict[str, TunedRow]]) -> None:
    results, rows = tree
    board = board_of(results)
    assert (only(board, "SASRec").trials, only(board, "SASRec").under_tuned) == (3, None)
    assert (only(board, "FDSA").trials, only(board, "FDSA").under_tuned) == (2, "no more were asked for")
    best = rows["SASRec"].best
    assert best is not None
    assert only(board, "SASRec").tuning.startswith(f"3 trials: {trials.in_words(best.settings)}, chosen on validation")
    text = render_markdown(board)
    assert "|   trials |" in text
    assert "2†" in text
    assert "- Under-tuned: FDSA (2 trials): no more were asked for." in text
    assert "Configurations tried: SASRec 3, FDSA 2 (under-tuned)." in render_tables(board)["tables/toy.tex"]
    assert "Under-tuned:\n  FDSA (2 trials): no more were asked for" in render_terminal(board)
    content = json.loads(render_json(board))
    assert [found.get("under_tuned") for found in content["tables"][0]["rows"]] == [None, "no more were asked for"]


def test_a_row_that_is_run_as_given_is_no_tuned_row(tree: tuple[Path, dict[str, TunedRow]]) -> None:
    results, rows = tree
    untried = make_job("BERT4Rec", training={"learning_rate": 0.1})
    counts = make_job("Popularity")
    store_run(results, untried, [3] * USERS)
    store_run(results, counts, [3] * USERS)
    write_plan(
        results,
        "small",
        [
            Planned(target="toy", method="FDSA", setting="full", seed=0, key=rows["FDSA"].trials[0].key),
            Planned(target="toy", method="BERT4Rec", setting="full", seed=0, key=make_key(untried)[0]),
            Planned(target="toy", method="Popularity", setting="full", seed=0, key=make_key(counts)[0]),
        ],
    )
    board = board_of(results)
    assert only(board, "FDSA").trials == 0
    assert "run as given, though tuning chose other settings" in str(only(board, "FDSA").under_tuned)
    assert (only(board, "BERT4Rec").trials, only(board, "BERT4Rec").under_tuned) == (0, "not tuned")
    assert (only(board, "Popularity").trials, only(board, "Popularity").under_tuned) == (None, None)


def test_a_run_that_has_not_what_the_list_tuned_is_no_tuned_row(tree: tuple[Path, dict[str, TunedRow]]) -> None:
    """It says that it was; the list names a dropout, which it lacks."""
    results, rows = tree
    job = make_job("SASRec", seed=7, training={"learning_rate": 0.1})
    store_run(results, job, [3] * USERS, tuning=Tuning(trials=rows["SASRec"].done, note="tuned elsewhere"))
    write_plan(results, "small", [Planned(target="toy", method="SASRec", setting="full", seed=7, key=make_key(job)[0])])
    found = [row.trials for row in board_of(results).tables[0].rows if row.seeds == (7,)]
    assert found == [0]


def test_without_tuning_nothing_of_it_is_shown(tmp_path: Path) -> None:
    store_run(tmp_path, make_job(), [3] * USERS)
    store_context(tmp_path)
    board = board_of(tmp_path)
    assert "trials" not in render_markdown(board)
    assert "trials" not in json.loads(render_json(board))["tables"][0]["rows"][0]


def edited(results: Path, change: Any) -> list[str]:
    path = results / "small" / "tuning.json"
    content = json.loads(path.read_text())
    change(content["rows"][0])
    path.write_text(json.dumps(content))
    return verify(results)


def swap(found: dict[str, Any]) -> None:
    found["trials"][1:] = found["trials"][:0:-1]
    found["chosen"] = 2


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda found: found["trials"][1].update(valid=0.5), "trial 1: the value is 0.5, and its ranks say 1.0"),
        (lambda found: found["trials"][1].update(key="1" * 64), "trial 1: its run 111111111111 is not stored"),
        (lambda found: found["trials"][1].update(key=found["trials"][0]["key"]), "trial 1: .* was run with"),
        (lambda found: found.update(chosen=0), "trial 0 is called the best, which is 1"),
        (lambda found: found.update(chosen=None), "trial None is called the best, which is 1"),
        (lambda found: found.update(chosen=7), "there is no trial 7 of"),
        (lambda found: found.update(trials=[]), "there is no trial 1 of"),
        (lambda found: found.update(method="BERT4Rec"), "trial 0: .* is a run of SASRec on toy"),
        (lambda found: found["space"].update(width=[1]), "trial 0 of SASRec on toy does not name what is in the space"),
        (lambda found: found["trials"][2]["settings"].update(learning_rate="fast"), "trial 2 .* has no learning_rate"),
        (lambda found: found["space"].update(dropout=[0.1, 0.5]), "not the trials that come first in the order"),
        (swap, "not the trials that come first in the order"),
    ],
)
def test_a_list_that_is_not_what_the_runs_say_is_found(
    tree: tuple[Path, dict[str, TunedRow]], change: Any, says: str
) -> None:

    results, _ = tree
    assert verify(results) == []
    found = edited(results, change)
    assert any(re.search(says, problem) for problem in found), found
    assert all("tuning.json" in problem for problem in found)


def test_a_trial_that_is_gone_is_missed(tree: tuple[Path, dict[str, TunedRow]]) -> None:
    results, _ = tree
    shutil.rmtree(list_runs(results, "small+trials")[0])
    assert any("is not stored; tune again" in problem for problem in verify(results))


def test_what_is_tuned_anew_takes_the_place_of_what_was_known(tree: tuple[Path, dict[str, TunedRow]]) -> None:
    results, rows = tree
    fewer = rows["SASRec"].model_copy(update={"trials": rows["SASRec"].trials[:1], "chosen": 0})
    trials.write(results, "small", [fewer])
    known = trials.read(results, "small")
    assert known is not None
    assert {found.method: len(found.trials) for found in known.rows} == {"FDSA": 2, "SASRec": 1}


def test_a_row_of_another_target_is_known_by_where_its_tuning_began(tree: tuple[Path, dict[str, TunedRow]]) -> None:
    results, rows = tree
    known = trials.read(results, "small")
    assert known is not None
    first = rows["FDSA"].trials[0].settings
    config, training = {"dropout": first["dropout"]}, {"learning_rate": first["learning_rate"]}
    job = make_job("FDSA", target="elsewhere", config=config, training=training)
    assert known.alike("toy", job) == rows["FDSA"]
    assert known.alike("elsewhere", job) is None
    assert known.alike("toy", dataclasses.replace(job, setting="few-shot")) is None
    assert known.alike("toy", dataclasses.replace(job, training={"learning_rate": 0.5})) is None
    twice = known.model_copy(update={"rows": (*known.rows, rows["FDSA"])})
    assert twice.alike("toy", job) is None


# --- the command


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, dict[str, Done]]:
    """A suite whose own learning rate is hopeless: tuned, tuned again after one trial was lost, and run."""
    place = Place(tmp_path_factory.mktemp("tuned"))
    with pytest.MonkeyPatch.context() as patch:
        jobs_run_here(patch)
        hopeless = {"epochs": 1, "batch_targets": 512, "learning_rate": 1e-8}
        rows = ["Popularity", "SASRec", "UniSRec_t", "Diverges"]
        suite = place.suite(methods=rows, training=hopeless)
        plugin = ("--plugin", "third_party:METHODS")
        done = {"untuned": place.transrec("run", suite, "--tuned", *plugin)}
        done["dry"] = place.transrec("tune", suite, "--trials", "3", "--dry-run", *plugin)
        own = place.suite(methods=rows, training=hopeless, tuning={"learning_rate": [0.001, 0.003]})
        done["own"] = place.transrec("tune", own, "--trials", "4", "--dry-run", *plugin)
        suite = place.suite(methods=rows, training=hopeless)
        assert not place.results.exists()
        done["tune"] = place.transrec("tune", suite, "--trials", "3", "--workers", "1", *plugin)
        shutil.rmtree(list_runs(place.results, "tiny+trials")[-1])
        (place.results / "tiny" / "tuning.json").rename(place.folder / "before.json")
        done["again"] = place.transrec(
            "tune", suite, "--trials", "3", "--workers", "1", "--methods", "SASRec,UniSRec_t", *plugin
        )
        done["run"] = place.transrec(
            "run", suite, "--tuned", "--workers", "1", "--methods", "Popularity,SASRec", *plugin
        )
        shutil.copytree(place.results, place.folder / "elsewhere")
        with pytest.MonkeyPatch.context() as other:
            (precision,) = own_first(resolve_precision("auto", torch.device("cpu")))[1:]
            other.setattr("benchmark.campaign.resolve_precision", lambda *_: precision)
            done["elsewhere"] = place.transrec(
                *("run", suite, "--tuned", "--workers", "1", "--methods", "SASRec,UniSRec_t"),
                *("--results", place.folder / "elsewhere", "--reports", place.folder / "elsewhere-reports"),
                *plugin,
            )
        one = {"learning_rate": [1e-8], "target": "demo-shop"}
        both = place.suite(methods=rows, training=hopeless, targets=["demo-shop", "demo-workshop"], tuning=one)
        done["one"] = place.transrec("tune", both, "--trials", "1", "--dry-run", *plugin)
        done["other"] = place.transrec(
            "tune", both, "--trials", "1", "--dry-run", "--targets", "demo-workshop", *plugin
        )
        shutil.copytree(place.results, place.folder / "over")
        done["over"] = place.transrec(
            *("run", both, "--tuned", "--workers", "1", "--methods", "SASRec", "--targets", "demo-workshop"),
            *("--results", place.folder / "over", "--reports", place.folder / "over-reports"),
            *plugin,
        )
    return place, done


def tried_of(path: Path) -> dict[str, dict[str, Any]]:
    return {found["method"]: found for found in json.loads(path.read_text())["rows"]}


def test_trials_are_the_same_number_for_every_trained_row(tuned: tuple[Place, dict[str, Done]]) -> None:
    place, done = tuned
    known = tried_of(place.folder / "before.json")
    assert {name: len(found["trials"]) for name, found in known.items()} == {"SASRec": 3, "UniSRec_t": 3, "Diverges": 3}
    assert known["SASRec"]["chosen"] > 0
    assert known["SASRec"]["trials"][0]["settings"]["learning_rate"] == 1e-8
    assert known["Diverges"]["chosen"] is None
    assert all("diverged" in found["failed"] for found in known["Diverges"]["trials"])
    assert done["tune"].code == 1
    assert "valid NDCG@10" in done["tune"].out
    assert "test NDCG@10" not in done["tune"].out
    runs = [read_run(folder).record for folder in list_runs(place.results, "tiny+trials")]
    assert (
        len({record.pretraining.key for record in runs if record.pretraining}) == 1
    )  # tuning trains it no second time


def test_a_dry_run_of_tuning_shows_the_trials(tuned: tuple[Place, dict[str, Done]]) -> None:
    _, done = tuned
    assert done["dry"].code == 0
    assert "suite tiny: 9 trials, 0 already stored" in done["dry"].out
    assert "trial 0 of demo-shop SASRec: dropout 0.5, learning_rate 1e-08" in done["dry"].out


def test_a_suite_may_name_the_learning_rates_of_all_its_rows(tuned: tuple[Place, dict[str, Done]]) -> None:
    _, done = tuned
    assert done["own"].code == 0
    tried = re.findall(r"trial \d of demo-shop (\w+): ([^\n]+)", done["own"].out)
    for row in ("SASRec", "UniSRec_t", "Diverges"):
        assert sorted(settings for name, settings in tried if name == row) == [
            "learning_rate 0.001",
            "learning_rate 0.003",
            "learning_rate 1e-08",
        ]


def test_a_target_may_decide_for_all(tuned: tuple[Place, dict[str, Done]]) -> None:
    place, done = tuned
    assert "trial 0 of demo-shop SASRec" in done["one"].out
    assert "demo-workshop" not in done["one"].out.split("trial 0 of", 1)[1]
    assert "trial 0 of demo-workshop SASRec" in done["other"].out, "a target that is asked for has trials of its own"
    assert (done["over"].code, done["over"].err) == (0, "")
    runs = [read_run(folder).record for folder in list_runs(place.folder / "over", "tiny")]
    over = [found for found in runs if found.job.target == "demo-workshop"]
    best = tried_of(place.results / "tiny" / "tuning.json")["SASRec"]
    settings = best["trials"][best["chosen"]]["settings"]
    assert over
    for record in over:
        assert record.job.training["learning_rate"] == settings["learning_rate"] != 1e-8
        assert record.tuning.trials == 0
        assert record.tuning.note.startswith("taken over from demo-shop: ")


def test_tuning_goes_on_where_it_was(tuned: tuple[Place, dict[str, Done]]) -> None:
    place, done = tuned
    assert (done["again"].code, done["again"].err) == (0, "")
    assert "suite tiny: 6 trials, 5 already stored" in done["again"].out
    before, after = tried_of(place.folder / "before.json"), tried_of(place.results / "tiny" / "tuning.json")
    assert after == {name: found for name, found in before.items() if name != "Diverges"}


def test_a_tuned_suite_runs_what_was_chosen(tuned: tuple[Place, dict[str, Done]]) -> None:
    place, done = tuned
    assert (done["run"].code, done["run"].err) == (0, "")
    assert "suite tiny: 3 jobs, 1 already stored" in done["run"].out  # seed 0 is the trial itself
    best = tried_of(place.results / "tiny" / "tuning.json")["SASRec"]
    chosen = best["trials"][best["chosen"]]
    (record,) = (read_run(folder).record for folder in list_runs(place.results, "tiny") if "SASRec" in str(folder))
    assert record.job.seed == 1
    assert record.job.training["learning_rate"] == chosen["settings"]["learning_rate"]
    assert record.job.config["dropout"] == chosen["settings"]["dropout"]
    assert (record.tuning.trials, record.tuning.note.split(";")[0].endswith("chosen on validation NDCG@10")) == (
        3,
        True,
    )
    content = json.loads((place.folder / "reports" / "tiny" / "leaderboard.json").read_text())
    shown = {found["method"]: found for found in content["tables"][0]["rows"]}
    assert (shown["SASRec"]["seeds"], shown["SASRec"]["trials"], "trials" in shown["Popularity"]) == ([0, 1], 3, False)
    page = (place.folder / "reports" / "tiny" / "index.html").read_text()
    assert 'data-column="trials"' in page
    assert 'case "trials"' in page
    assert verify(place.results) == []


def test_what_was_tuned_and_pre_trained_in_one_precision_serves_the_other(tuned: tuple[Place, dict[str, Done]]) -> None:
    place, done = tuned
    assert done["elsewhere"].code == 0, done["elsewhere"].err
    assert "as given" not in done["elsewhere"].out
    assert "pre-train:" not in done["elsewhere"].out
    records = [read_run(folder).record for folder in list_runs(place.folder / "elsewhere", "tiny")]
    (precision,) = own_first(resolve_precision("auto", torch.device("cpu")))[1:]
    made = [record for record in records if record.key_parts.get("training", {}).get("precision") == precision]
    assert {record.job.method for record in made} == {"SASRec", "UniSRec_t"}
    tried = tried_of(place.results / "tiny" / "tuning.json")
    for record in made:
        row = tried[record.job.method]
        assert record.job.training["learning_rate"] == row["trials"][row["chosen"]]["settings"]["learning_rate"]
        assert record.tuning.trials == 3
        assert record.tuning.note.endswith("on a machine of another precision")
    weights = {
        run.record.pretraining.key
        for run in map(read_run, list_runs(place.results, "tiny+trials"))
        if run.record.pretraining
    }
    assert {record.pretraining.key for record in made if record.pretraining} == weights
    (table,) = json.loads((place.folder / "elsewhere-reports" / "tiny" / "leaderboard.json").read_text())["tables"]
    assert {row["method"]: row["trials"] for row in table["rows"] if row["method"] in ("SASRec", "UniSRec_t")} == {
        "SASRec": 3,
        "UniSRec_t": 3,
    }


def test_without_a_list_a_tuned_run_is_refused(tuned: tuple[Place, dict[str, Done]]) -> None:
    _, done = tuned
    assert done["untuned"].code == 2
    assert "run `transrec tune tiny --trials N` first" in done["untuned"].err
