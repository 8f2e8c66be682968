"""Where results lie: one folder a run, whose path is a function of the job and its key.

    results/<suite>/suite.json                                          the jobs of the suite and their keys
    results/<suite>/tuning.json                                         what was tried of each row, and chosen
    results/<suite>/<target>/context.parquet                            what reports need to know of each user
                             context-strict.parquet                     of each question of the strict track
    results/<suite>/<target>/<method>/<setting>-seed<k>-<key>/record.json
                                                             ranks.parquet
                                                             valid.parquet  in the strict track
                                                             diagnostics.json  what figures need besides, where known
    results/<suite>/artefacts/<family>-<epochs>-<key>.safetensors       pre-trained weights that are published
    results/<suite>/failed/<target>/<method>/<setting>-seed<k>-<key>.json
    results/<suite>+trials/                                             runs that tuning tried: `benchmark.trials`
    results/reference/                                                  a results folder that runs are checked against

A folder that exists is a run that is done. Folder names carry the first 12 digits of the key. Nothing is pickled, and
no raw id of a user or an item is written.

``ranks.parquet`` has a line a user, with the ranks for validation and for test. In the strict track it has a line a
question for test, and ``valid.parquet`` one a question for validation, which are of other users and other in number.
"""

from __future__ import annotations

import re
from pathlib import Path

from benchmark.errors import InputError
from benchmark.formats.lines import shown
from benchmark.jobs import Job, digest

RECORD, RANKS, VALID, DIAGNOSTICS = "record.json", "ranks.parquet", "valid.parquet", "diagnostics.json"
PLAN, TUNING = "suite.json", "tuning.json"
LOCK = ".lock"
CONTEXTS = ("context.parquet", "context-strict.parquet")
FAILED, ARTEFACTS = "failed", "artefacts"
"""Folders beside the targets."""
REFERENCE_FOLDER = "reference"
"""Beside the suites: a results folder of its own, which later runs are compared with (`benchmark.regression`). One
level deeper than runs are looked for, so that none of its runs is taken for one that is done."""
RESERVED = (FAILED, ARTEFACTS, REFERENCE_FOLDER)
"""No suite or target may be called so."""


def slug(name: str) -> str:
    """A name as a folder name: ``recbole:GRU4Rec`` becomes ``recbole-GRU4Rec``, ``UniSRec_t+ID`` stays."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", name).strip("-.") or digest(name)[:12]


def suite_folder(results: Path, suite: str) -> Path:
    """Where a suite's runs are stored; raises InputError for a name that would lead elsewhere."""
    if suite != slug(suite):
        raise InputError(f"suite {shown(suite)} can't name a folder; use letters, digits and '._+-'")
    return results / suite


def run_folder(results: Path, job: Job, key: str) -> Path:
    """Where the run of a job belongs; raises InputError for a suite or target that can't be a folder's name."""
    for what, name in (("suite", job.suite), ("target", job.target)):
        if name in RESERVED:
            raise InputError(f"{what} '{name}': the name is reserved for a folder of results; choose another")
        if name != slug(name):
            raise InputError(f"{what} {shown(name)} can't name a folder; use letters, digits and '._+-'")
    return results / job.suite / job.target / slug(job.method) / run_name(job, key)


def failure_path(results: Path, job: Job, key: str) -> Path:
    """Where it is noted why a job gave no result."""
    run = run_folder(results, job, key)
    return results / job.suite / FAILED / run.parent.parent.name / run.parent.name / f"{run.name}.json"


def context_name(track: str) -> str:
    """The file that holds the context of a target under a track."""
    return CONTEXTS[track == "strict"]


def run_name(job: Job, key: str) -> str:
    """The name of the folder of a run."""
    return f"{slug(job.setting)}-seed{job.seed}-{key[:12]}"
