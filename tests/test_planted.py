"""What is planted in the demo domains is found: transfer where there is some, and none where there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benchmark import pretrain
from benchmark.domain import Domain
from benchmark.encode import drop_words, encode
from benchmark.jobs import Job, digest
from benchmark.method import Material, Model, registry
from benchmark.metrics import PRIMARY, per_user
from benchmark.plan import jobs_of
from benchmark.prepare.demo import plant
from benchmark.rank import rank
from benchmark.significance import Paired, paired_t
from benchmark.splits import leave_one_out
from benchmark.suite import load_suite
from benchmark.train import Training, train

torch.set_num_threads(1)


def texts(domain: Domain, folder: Path, *, noisy: bool = False) -> NDArray[np.float32]:
    words = drop_words(domain.texts) if noisy else domain.texts
    return np.array(encode(words, "hash", folder, progress=False).matrix)


def pretrained(job: Job, sources: list[Domain], folder: Path) -> pretrain.Artefact:
    spec = job.pretraining
    assert spec is not None
    parts = pretrain.key_parts(spec, {each.name: each.fingerprint for each in sources}, {}, "float32")
    clean, noisy = (
        torch.from_numpy(np.concatenate([texts(each, folder, noisy=n) for each in sources])) for n in (False, True)
    )
    family = registry().families[spec.family]
    path = pretrain.pretrain(spec, family, parts, pretrain.merge(sources), clean, noisy, cache=folder)
    return pretrain.load(path, digest(parts))


def quality(job: Job, target: Domain, artefact: pretrain.Artefact | None, folder: Path) -> NDArray[np.float64]:
    """Test NDCG@10 of each user after one run of a job."""
    method, split = registry().methods[job.method], leave_one_out(target)
    weights = artefact.weights if artefact and method.pretraining else None
    given = Material(n_items=split.n_items, train=split.train, text=texts(target, folder), pretrained=weights)
    torch.manual_seed(job.seed)
    model = method.build(method.configure(job.config), given)
    assert isinstance(model, Model)
    train(model, split, Training(**{**job.training, "precision": "float32"}), job.seed)
    ranks = rank(model, split.test, split.n_items)
    return per_user(PRIMARY, ranks.greater, ranks.equal)


def gain(target: str, transfer: float, folder: Path, *, seeds: int) -> Paired:
    """UniSRec_t less UniSRec_t-scratch on a target, as suite demo runs them, each user averaged over seeds."""
    suite = load_suite("demo")
    names = ("UniSRec_t", "UniSRec_t-scratch")
    jobs = jobs_of(suite, registry(), targets=[target], methods=names, seeds=seeds)
    sources = [plant(name, transfer=transfer).domain for name in suite.sources]
    artefact = pretrained(jobs[0], sources, folder)
    domain = plant(target).domain
    users = {
        name: np.mean([quality(job, domain, artefact, folder) for job in jobs if job.method == name], axis=0)
        for name in names
    }
    return paired_t(users["UniSRec_t"], users["UniSRec_t-scratch"], domain.clusters)


def test_pre_training_pays_where_sources_tell_something(tmp_path: Path) -> None:
    found = gain("demo-shop", 1.0, tmp_path, seeds=1)
    assert found.low > 0.02, f"no gain from pre-training: {found}"


def test_pre_training_gains_nothing_from_sources_that_tell_nothing(tmp_path: Path) -> None:
    found = gain("demo-shop", 0.0, tmp_path, seeds=1)
    assert found.low <= 0, f"a gain where there can be none: {found}"


@pytest.mark.soak
def test_the_same_across_domains_of_one_platform_over_all_seeds(tmp_path: Path) -> None:
    with_truth, without = (gain("demo-workshop", t, tmp_path / str(t), seeds=3) for t in (1.0, 0.0))
    assert with_truth.low > 0.02
    assert without.low <= 0
