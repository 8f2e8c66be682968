"""What is planted in the demo domains is found: transfer where there is some, and none where there is none."""

from __future__ import annotations

from collections.abc import Sequence
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
from benchmark.prepare.demo import SEED, plant
from benchmark.rank import rank
from benchmark.significance import Paired, paired_t
from benchmark.splits import leave_one_out
from benchmark.suite import load_suite
from benchmark.train import Training, train

torch.set_num_threads(1)

WORLDS = range(101, 141)
"""Seeds of worlds beside the committed one."""


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


def gains(
    target: str, transfers: Sequence[float], folder: Path, *, seeds: int, world: int = SEED
) -> dict[float, Paired]:
    """UniSRec_t less UniSRec_t-scratch on a target, as suite demo runs them, each user averaged over seeds.

    One for each transfer; the target, and so the scratch rows, do not depend on it.
    """
    suite = load_suite("demo")
    names = ("UniSRec_t", "UniSRec_t-scratch")
    jobs = jobs_of(suite, registry(), targets=[target], methods=names, seeds=seeds)
    domain = plant(target, seed=world).domain

    def users(method: str, artefact: pretrain.Artefact | None) -> NDArray[np.float64]:
        return np.mean([quality(job, domain, artefact, folder) for job in jobs if job.method == method], axis=0)

    scratch, found = users("UniSRec_t-scratch", None), {}
    for transfer in transfers:
        sources = [plant(name, transfer=transfer, seed=world).domain for name in suite.sources]
        artefact = pretrained(next(job for job in jobs if job.pretraining), sources, folder)
        found[transfer] = paired_t(users("UniSRec_t", artefact), scratch, domain.clusters)
    return found


def test_pre_training_pays_where_sources_tell_something(tmp_path: Path) -> None:
    found = gains("demo-shop", [1.0], tmp_path, seeds=1)[1.0]
    assert found.low > 0.02, f"no gain from pre-training: {found}"


def test_pre_training_gains_nothing_from_sources_that_tell_nothing(tmp_path: Path) -> None:
    found = gains("demo-shop", [0.0], tmp_path, seeds=1)[0.0]
    assert found.low <= 0, f"a gain where there can be none: {found}"


@pytest.mark.soak
def test_the_same_across_domains_of_one_platform_over_all_seeds(tmp_path: Path) -> None:
    found = gains("demo-workshop", [1.0, 0.0], tmp_path, seeds=3)
    assert found[1.0].low > 0.02
    assert found[0.0].low <= 0


@pytest.mark.soak
def test_over_many_worlds_the_gain_is_found_and_none_is_where_there_is_none(tmp_path: Path) -> None:
    """Power over generated worlds of at least 0.95, and hardly a false gain; about 20 s of one core a world.

    The null is one-sided, no gain: a model frozen after learning noise loses, by 0.03 NDCG@10 in the median of the
    worlds, so that a false gain in 1 of 20 is more than chance would give. When this was written there was none in 40.
    """
    found = [gains("demo-shop", [1.0, 0.0], tmp_path / str(world), seeds=1, world=world) for world in WORLDS]
    gained = {transfer: sum(each[transfer].low > 0 for each in found) for transfer in (1.0, 0.0)}
    assert gained[1.0] >= 0.95 * len(WORLDS), gained
    assert gained[0.0] <= 0.05 * len(WORLDS), gained
