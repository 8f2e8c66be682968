"""Jobs of a suite, and keys that change when, and only when, the outcome may."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from benchmark.errors import InputError
from benchmark.jobs import Job, derive_seed, digest
from benchmark.method import Budget, Registry, registry
from benchmark.plan import Task, jobs_of, named_jobs, task_of
from benchmark.store import finished, read_plan, read_record
from benchmark.suite import Suite, load_suite
from benchmark.train import Training

REGISTRY = registry()
FINGERPRINTS = {"target": "t1", "other": "t2", "kitchen": "s1", "garden": "s2"}
ENCODERS = {"hash": {"encoder": "hash", "width": 256}, "also hash": {"encoder": "hash", "width": 256}}
SUITE: dict[str, Any] = {
    "name": "small",
    "about": "a suite of tests",
    "targets": ["target", "other"],
    "sources": ["kitchen", "garden"],
    "encoder": "hash",
    "seeds": 2,
    "methods": ["Popularity", "SASRec", "UniSRec_t", "UniSRec_t-scratch", "UniSRec_t-zeroshot"],
    "config": {"width": 32},
    "training": {"epochs": 3},
    "pretraining": {"epochs": 2, "config": {"drop": 0.3}},
}


def jobs(changes: dict[str, Any] | None = None, *, known: Registry = REGISTRY, **selected: Any) -> list[Job]:
    return jobs_of(Suite.model_validate(SUITE | (changes or {})), known, **selected)


def task(
    method: str = "UniSRec_t",
    changes: dict[str, Any] | None = None,
    *,
    job: Callable[[Job], Job] = lambda job: job,
    fingerprints: dict[str, str] | None = None,
    encoders: dict[str, dict[str, Any]] | None = None,
    precision: str = "float32",
    number: int = 0,
) -> Task:
    """The task of a method on the first target, with something else than usual."""
    one = jobs(changes, methods=[method], targets=["target"])[number]
    return task_of(job(one), FINGERPRINTS | (fingerprints or {}), ENCODERS | (encoders or {}), precision)


# --- jobs


def test_every_row_on_every_target_with_its_seeds() -> None:
    found = [(job.target, job.method, job.seed) for job in jobs()]
    rows = [("Popularity", 1), ("SASRec", 2), ("UniSRec_t", 2), ("UniSRec_t-scratch", 2), ("UniSRec_t-zeroshot", 1)]
    assert found == [
        (target, name, seed) for target in ("target", "other") for name, seeds in rows for seed in range(seeds)
    ]


def test_a_selection_may_go_beyond_the_suite() -> None:
    found = [(job.target, job.method, job.seed) for job in jobs(methods=["Markov", "SASRec"], targets=["x"], seeds=3)]
    assert found == [("x", "Markov", 0), ("x", "SASRec", 0), ("x", "SASRec", 1), ("x", "SASRec", 2)]


def test_a_job_carries_what_its_method_needs_and_nothing_else() -> None:
    by_name = {job.method: job for job in jobs(targets=["target"])}
    counts, ids, full = by_name["Popularity"], by_name["SASRec"], by_name["UniSRec_t"]
    assert (counts.sources, counts.encoder, counts.training, counts.config, counts.pretraining) == (
        (),
        None,
        {},
        {},
        None,
    )
    assert (ids.sources, ids.encoder, ids.pretraining) == ((), None, None)
    assert ids.config["width"] == 32
    assert ids.training == asdict(Training(epochs=3))
    assert (full.sources, full.encoder) == (("kitchen", "garden"), "hash")
    assert full.pretraining is not None
    scratch, zero = by_name["UniSRec_t-scratch"], by_name["UniSRec_t-zeroshot"]
    assert (scratch.sources, scratch.encoder, scratch.pretraining) == ((), "hash", None)
    assert (zero.setting, zero.training) == ("zero-shot", {})
    assert {job.setting for name, job in by_name.items() if name != "UniSRec_t-zeroshot"} == {"full"}
    assert zero.pretraining == full.pretraining, "the two do not share their pre-training"


def test_pre_training_takes_the_sizes_of_the_method() -> None:
    (job, *_) = jobs({"config": {"width": 48, "experts": 2}}, methods=["UniSRec_t"])
    assert job.pretraining is not None
    assert (job.pretraining.config["width"], job.pretraining.config["experts"]) == (48, 2)
    assert (job.pretraining.config["drop"], job.pretraining.epochs) == (0.3, 2)


def test_a_row_departs_from_the_suite_only_where_it_says_so() -> None:
    entry = {"name": "SASRec", "config": {"layers": 1}, "training": {"patience": 4}, "seeds": 1}
    wide, usual = jobs({"methods": [entry, "SASRec"], "seeds": 1}, targets=["target"])
    assert (wide.config["layers"], wide.config["width"]) == (1, 32)
    assert (wide.training["patience"], wide.training["epochs"]) == (4, 3)
    assert wide.config == {**usual.config, "layers": 1}
    own = {"name": "UniSRec_t", "pretraining": {"epochs": 7, "seed": 5}}
    (other,) = jobs({"methods": [own], "seeds": 1}, targets=["target"])
    assert other.pretraining is not None
    assert (other.pretraining.epochs, other.pretraining.seed) == (7, 5)


def test_a_method_may_differ_in_training_and_a_row_has_the_last_word() -> None:
    patient = replace(REGISTRY.methods["SASRec"], name="Patient", defaults={"patience": 50, "epochs": 9})
    known = replace(REGISTRY, methods={**REGISTRY.methods, "Patient": patient})
    rows = ["Patient", {"name": "Patient", "training": {"patience": 60}}]
    first, second = jobs({"methods": rows, "seeds": 1}, known=known, targets=["target"])
    assert (first.training["patience"], first.training["epochs"]) == (50, 9)
    assert second.training["patience"] == 60


def test_a_budget_goes_over_defaults_and_under_what_a_row_says() -> None:
    full = Budget(config={"layers": 6}, training={"epochs": 100, "patience": 50})
    method = replace(REGISTRY.methods["SASRec"], name="Slow", defaults={"patience": 20}, budgets={"literature": full})
    known = replace(REGISTRY, methods={**REGISTRY.methods, "Slow": method})
    rows = [
        "Slow",
        {"name": "Slow", "budget": "literature"},
        {"name": "Slow", "budget": "literature", "config": {"layers": 7}, "training": {"epochs": 101}},
    ]
    found = jobs({"methods": rows, "seeds": 1}, known=known, targets=["target"])
    told = [(job.config["layers"], job.training["epochs"], job.training["patience"]) for job in found]
    assert told == [(2, 3, 20), (6, 100, 50), (7, 101, 50)]
    with pytest.raises(InputError, match=r"method 'Slow': unknown budget 'literatur'; did you mean 'literature'"):
        jobs({"methods": [{"name": "Slow", "budget": "literatur"}]}, known=known)


@dataclass(frozen=True, kw_only=True)
class Depth:
    depth: int = 3


@pytest.mark.parametrize("name", ["Popularity", "SASRec"])
def test_one_row_of_a_suite_can_be_run_alone(name: str) -> None:
    found = jobs({"config": {"width": 32, "experts": 4}}, methods=[name])
    assert {job.method for job in found} == {name}


def test_a_suites_hyper_parameters_are_no_mistake_where_only_others_have_them() -> None:
    """A third party's method, run alone in a suite of ours, has other hyper-parameters than the suite sets."""
    deep = replace(REGISTRY.methods["SASRec"], name="Deep", config=Depth)
    known = replace(REGISTRY, methods={**REGISTRY.methods, "Deep": deep})
    (job, *_) = jobs(known=known, methods=["Deep"])
    assert job.config == {"depth": 3}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"methods": ["SASrec"]}, r"suite 'small': unknown method 'SASrec'; did you mean 'SASRec'"),
        ({"config": {"widht": 3}}, r"suite 'small', config: unknown key 'widht'; did you mean 'width'"),
        ({"methods": [{"name": "SASRec", "config": {"experts": 3}}]}, r"method 'SASRec': unknown key 'experts'"),
        ({"training": {"epoch": 3}}, r"method 'SASRec', training: unknown key 'epoch'; did you mean 'epochs'"),
        ({"training": {"epochs": -3}}, "epochs is -3"),
        ({"config": {"width": "wide"}}, "'width' is 'wide', expected a int"),
        ({"config": {"width": 32.5}}, "'width' is 32.5, expected a int"),
        (
            {"pretraining": {"epochs": 2, "config": {"dorp": 1}}},
            r"pretraining: unknown key 'dorp'; did you mean 'drop'",
        ),
        ({"pretraining": None}, r"method 'UniSRec_t': it starts from pre-training; give the suite 'pretraining'"),
        ({"sources": []}, r"method 'UniSRec_t': it learns from source domains; give the suite 'sources'"),
        ({"encoder": None}, r"method 'UniSRec_t': it reads item texts; give the suite an 'encoder'"),
    ],
)
def test_mistakes_are_named_with_the_place(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        jobs(changes)


def test_a_row_may_have_its_own_sources_encoder_and_users() -> None:
    rows = [
        {"name": "UniSRec_t", "sources": ["garden"]},
        {"name": "SASRec", "few_shot": 0.1},
        {"name": "UniSRec_t-scratch", "encoder": "also hash"},
        {"name": "UniSRec_t", "sources": ["garden", "kitchen"], "encoder": "also hash", "few_shot": 0.5},
    ]
    one, few, scratch, both = jobs({"methods": rows, "seeds": 1}, targets=["target"])
    assert one.pretraining is not None
    assert both.pretraining is not None
    assert (one.sources, one.pretraining.sources, one.encoder, one.setting) == (
        ("garden",),
        ("garden",),
        "hash",
        "full",
    )
    assert (few.few_shot, few.setting, few.sources, few.encoder) == (0.1, "few-shot", (), None)
    assert (scratch.encoder, scratch.few_shot, scratch.setting) == ("also hash", None, "full")
    assert (both.sources, both.pretraining.encoder, both.few_shot) == (("garden", "kitchen"), "also hash", 0.5)
    assert "few_shot" not in task_of(scratch, FINGERPRINTS, ENCODERS, "float32").parts
    assert task_of(few, FINGERPRINTS, ENCODERS, "float32").parts["few_shot"] == 0.1


def test_a_row_changes_its_pre_training_and_keeps_the_rest_of_the_suites() -> None:
    rows = [
        {"name": "UniSRec_t", "pretraining": {"config": {"item_weight": 0.5}}},
        {"name": "UniSRec_t", "pretraining": {"epochs": 9, "config": {"drop": 0.1}}},
    ]
    first, second = jobs({"methods": rows, "seeds": 1}, targets=["target"])
    assert first.pretraining is not None
    assert second.pretraining is not None
    assert (first.pretraining.epochs, second.pretraining.epochs) == (2, 9)
    told = [(spec.config["item_weight"], spec.config["drop"]) for spec in (first.pretraining, second.pretraining)]
    assert told == [(0.5, 0.3), (1.0, 0.1)]


def test_pre_training_seeds_cross_the_seeds_of_a_row() -> None:
    changes = {"pretraining": {"epochs": 2, "seed": 4, "seeds": 2}, "methods": ["UniSRec_t", "UniSRec_t-zeroshot"]}
    found = [(job.method, job.pretraining and job.pretraining.seed, job.seed) for job in jobs(changes, targets=["x"])]
    tuned = [("UniSRec_t", first, second) for first in (4, 5) for second in (0, 1)]
    assert found == [*tuned, ("UniSRec_t-zeroshot", 4, 0), ("UniSRec_t-zeroshot", 5, 0)]
    rows = [{"name": "UniSRec_t", "pretraining": {"seeds": 1}}, "UniSRec_t-zeroshot"]
    assert len(jobs(changes | {"methods": rows}, targets=["x"])) == 2 + 2


def test_labels_are_the_suites_else_the_share_of_users_and_no_part_of_a_job() -> None:
    rows = [
        {"name": "SASRec", "label": "as ever"},
        {"name": "SASRec", "few_shot": 0.005},
        {"name": "SASRec", "few_shot": 0.25, "label": "a quarter"},
        "Popularity",
    ]
    suite = Suite.model_validate(SUITE | {"methods": rows, "seeds": 1, "targets": ["target"]})
    found = named_jobs(suite, REGISTRY)
    assert [row.label for row in found] == ["as ever", "0.5 % of users", "a quarter", None]
    assert "as ever" not in json.dumps(found[0].job.as_dict())


ROW = {"name": "UniSRec_t", "config": {"experts": 2}}
IMPOSSIBLE: dict[str, tuple[dict[str, Any], str]] = {
    "few-shot without training": (
        {"methods": [{"name": "UniSRec_t-zeroshot", "few_shot": 0.5}]},
        r"method 'UniSRec_t-zeroshot': 'few_shot' of its row would have no effect, because it is not trained",
    ),
    "few-shot counting": ({"methods": [{"name": "Popularity", "few_shot": 0.5}]}, r"'few_shot'.*is not trained"),
    "training of a counting method": (
        {"methods": [{"name": "Popularity", "training": {"epochs": 3}}]},
        r"method 'Popularity': 'training'.*is not trained",
    ),
    "sources of an id method": (
        {"methods": [{"name": "SASRec", "sources": ["garden"]}]},
        r"method 'SASRec': 'sources'.*reads no source domains",
    ),
    "encoder of an id method": (
        {"methods": [{"name": "SASRec", "encoder": "hash"}]},
        r"method 'SASRec': 'encoder'.*reads no item texts",
    ),
    "sources from scratch": (
        {"methods": [{"name": "UniSRec_t-scratch", "sources": ["garden"]}]},
        r"'sources'.*reads no source domains",
    ),
    "pre-training from scratch": (
        {"methods": [{"name": "UniSRec_t-scratch", "pretraining": {"epochs": 3}}]},
        r"method 'UniSRec_t-scratch': 'pretraining'.*starts from no pre-training",
    ),
    "a pre-trained row without sources": (
        {"methods": [{"name": "UniSRec_t", "sources": []}]},
        r"method 'UniSRec_t': it learns from source domains",
    ),
    "the same row twice": (
        {"methods": ["SASRec", "Popularity", "SASRec"]},
        r"suite 'small': rows 1 and 3 \('SASRec'\) are the same in everything",
    ),
    "the same row under another label": (
        {"methods": [ROW, ROW | {"label": "another"}]},
        r"rows 1 and 2 \('UniSRec_t'\) are the same in everything",
    ),
    "a default that is written out": (
        {"methods": ["SASRec", {"name": "SASRec", "config": {"heads": 2}, "seeds": 1}]},
        r"rows 1 and 2 \('SASRec'\) are the same in everything",
    ),
    "the same label twice": (
        {"methods": [ROW | {"label": "a"}, "SASRec", {"name": "UniSRec_t", "few_shot": 0.1, "label": "a"}]},
        r"rows 1 and 3 \('UniSRec_t'\) have the same label 'a'",
    ),
    "a target twice": (
        {"targets": ["target", "other", "target"]},
        r"suite 'small': 'target' stands twice in 'targets'",
    ),
    "a source twice": ({"sources": ["garden", "garden"]}, r"suite 'small': 'garden' stands twice in 'sources'"),
    "a source of a row twice": (
        {"methods": ["SASRec", {"name": "UniSRec_t", "sources": ["garden", "garden"]}]},
        r"suite 'small', row 2: 'garden' stands twice in 'sources'",
    ),
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_what_has_no_effect_and_what_is_named_twice_is_refused(what: str) -> None:
    changes, said = IMPOSSIBLE[what]
    with pytest.raises(InputError, match=said):
        jobs({"config": {}} | changes)


def test_one_label_may_stand_for_rows_of_two_methods() -> None:
    rows = [{"name": name, "few_shot": 0.1, "label": "few"} for name in ("SASRec", "UniSRec_t")]
    assert len(jobs({"methods": rows, "seeds": 1}, targets=["target"])) == 2


def test_what_starts_from_pre_training_needs_texts_and_sources() -> None:
    with pytest.raises(ValueError, match="pre-training"):
        replace(REGISTRY.methods["UniSRec_t"], needs=frozenset({"text"}))


# --- keys


def test_a_key_is_the_digest_of_its_parts_and_parts_survive_json() -> None:
    found = task()
    assert found.key == digest(found.parts)
    assert digest(json.loads(json.dumps(found.parts))) == found.key
    assert found.artefact is not None
    assert found.parts["pretraining"] == found.artefact.key == digest(found.artefact.parts)
    assert "suite" not in found.parts
    assert "target" not in found.parts.values(), "a name is no content"


USUAL = task()
MATTERS: dict[str, dict[str, Any]] = {
    "target's data": {"fingerprints": {"target": "changed"}},
    "a source's data": {"fingerprints": {"garden": "changed"}},
    "order of sources": {"changes": {"sources": ["garden", "kitchen"]}},
    "one source less": {"changes": {"sources": ["kitchen"]}},
    "a hyper-parameter": {"changes": {"config": {"width": 64}}},
    "a hyper-parameter of the method alone": {"changes": {"config": {"width": 32, "freeze": False}}},
    "epochs": {"changes": {"training": {"epochs": 4}}},
    "learning rate": {"changes": {"training": {"epochs": 3, "learning_rate": 0.002}}},
    "epochs of pre-training": {"changes": {"pretraining": {"epochs": 3, "config": {"drop": 0.3}}}},
    "a setting of pre-training": {"changes": {"pretraining": {"epochs": 2, "config": {"drop": 0.4}}}},
    "seed of pre-training": {"changes": {"pretraining": {"epochs": 2, "config": {"drop": 0.3}, "seed": 1}}},
    "seed": {"number": 1},
    "encoder": {"encoders": {"hash": {"encoder": "hash", "width": 512}}},
    "precision": {"precision": "bfloat16"},
    "version of the method": {"job": lambda job: replace(job, version=2)},
    "version of the pre-training": {
        "job": lambda job: replace(job, pretraining=replace(job.pretraining, version=2)),
    },
    "setting": {"job": lambda job: replace(job, setting="few-shot")},
    "track": {"job": lambda job: replace(job, track="strict")},
    "share of users": {"job": lambda job: replace(job, few_shot=0.1)},
    "a hyper-parameter that was added later": {"changes": {"config": {"width": 32, "whitening": False}}},
}


@pytest.mark.parametrize("what", MATTERS)
def test_a_key_changes_with(what: str) -> None:
    assert task(**MATTERS[what]).key != USUAL.key


@pytest.mark.parametrize("what", ["encoder", "target's data", "epochs", "seed", "precision", "version of the method"])
def test_without_pre_training_too_a_key_changes_with(what: str) -> None:
    assert task("UniSRec_t-scratch", **MATTERS[what]).key != task("UniSRec_t-scratch").key


def test_another_method_is_another_key() -> None:
    scratch = task("UniSRec_t-scratch")
    renamed = task("UniSRec_t-scratch", job=lambda job: replace(job, method="UniSRec_t+ID-scratch"))
    assert scratch.key != renamed.key


DOES_NOT_MATTER: dict[str, dict[str, Any]] = {
    "name of the suite": {"changes": {"name": "another", "about": "and its description"}},
    "other rows, targets and seeds": {"changes": {"methods": ["SASRec", "UniSRec_t"], "targets": ["x"], "seeds": 9}},
    "names of domains with the same data": {
        "changes": {"sources": ["cook", "plant"]},
        "fingerprints": {"cook": "s1", "plant": "s2"},
    },
    "another name of the encoder": {"changes": {"encoder": "also hash"}},
    "a default that is written out": {
        "changes": {"config": {"width": 32, "heads": 2, "dropout": 0.5}, "training": {"epochs": 3, "patience": 10}}
    },
    "a whole number where a fraction is meant": {
        "changes": {"config": {"width": 32, "adaptor_dropout": 0}, "training": {"epochs": 3, "weight_decay": 0}}
    },
    "precision that is given as what auto would be": {
        "changes": {"training": {"epochs": 3, "precision": "float32"}},
    },
    "the default of a hyper-parameter that was added later": {"changes": {"config": {"width": 32, "whitening": True}}},
    "a label, and what a row says of its own that the suite says too": {
        "changes": {
            "methods": [
                {"name": "UniSRec_t", "label": "mine", "sources": ["kitchen", "garden"], "encoder": "hash"},
                {"name": "SASRec", "label": "theirs"},
            ]
        }
    },
    "how many pre-trainings there are": {
        "changes": {"pretraining": {"epochs": 2, "config": {"drop": 0.3}, "seeds": 3}}
    },
    "data of a domain it does not name": {"fingerprints": {"other": "changed"}},
}


@pytest.mark.parametrize("what", DOES_NOT_MATTER)
def test_a_key_does_not_change_with(what: str) -> None:
    assert task(**DOES_NOT_MATTER[what]).key == USUAL.key


@pytest.mark.parametrize("what", ["a source's data", "encoder", "epochs of pre-training", "order of sources"])
def test_what_a_method_does_not_read_is_not_in_its_key(what: str) -> None:
    assert task("SASRec", **MATTERS[what]).key == task("SASRec").key


def test_counting_methods_have_one_key_whatever_the_training() -> None:
    other = task("Popularity", {"training": {"epochs": 99}, "config": {"width": 1}}, precision="bfloat16")
    assert other.key == task("Popularity").key


def test_jobs_of_one_pre_training_share_its_artefact() -> None:
    keys = {name: task(name).artefact for name in ("UniSRec_t", "UniSRec_t-zeroshot")}
    assert len({artefact.key for artefact in keys.values() if artefact}) == 1
    assert task(changes={"training": {"epochs": 8}}).artefact == keys["UniSRec_t"]
    assert task("UniSRec_t-scratch").artefact is None


def test_seeds_depend_on_every_part_and_on_where_it_ends() -> None:
    parts = [(0, "a", 1), (0, "a", 2), (1, "a", 1), (0, "b", 1), (0, "a1"), ("0a", 1)]
    seeds = {derive_seed(*each) for each in parts}
    assert len(seeds) == len(parts)
    assert all(0 <= seed < 2**63 for seed in seeds)


RESULTS = Path(__file__).parents[1] / "results"


@pytest.mark.parametrize("name", ["pretraining", "sampler"])
def test_stored_runs_keep_the_keys_that_their_suite_gives_them_today(name: str) -> None:
    plan = {entry.key: entry for entry in read_plan(RESULTS, name).jobs}
    records = [read_record(folder) for key, folder in finished(RESULTS).items() if key in {k[:12] for k in plan}]
    fingerprints = {record.target.name: record.target.fingerprint for record in records}
    fingerprints |= {source.name: source.fingerprint for record in records for source in record.sources}
    encoders = {str(record.job.encoder): record.encoder.provenance for record in records if record.encoder}
    (precision,) = {record.key_parts["training"]["precision"] for record in records if record.job.training}
    tasks = [task_of(job, fingerprints, encoders, precision) for job in jobs_of(load_suite(name), REGISTRY)]
    stored = {record.key for record in records}
    assert stored
    assert stored <= {task.key for task in tasks}
    by_key = {task.key: task for task in tasks}
    assert all(by_key[record.key].parts == record.key_parts for record in records)


@pytest.mark.parametrize(
    ("at_hand", "taken"), [((), "float32"), (("float32", "bfloat16"), "float32"), (("bfloat16",), "bfloat16")]
)
def test_weights_that_are_there_are_taken_whatever_they_were_trained_in(at_hand: tuple[str, ...], taken: str) -> None:
    """A run's own precision stays that of the machine."""
    (job, *_) = jobs(methods=["UniSRec_t"], targets=["target"])
    found = task_of(job, FINGERPRINTS, ENCODERS, "float32", lambda artefact: artefact.parts["precision"] in at_hand)
    assert found.artefact is not None
    assert found.artefact.parts["precision"] == taken
    assert found.parts["pretraining"] == found.artefact.key
    assert found.parts["training"]["precision"] == "float32"
