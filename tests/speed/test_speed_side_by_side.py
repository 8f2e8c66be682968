"""The product beside RecBole, and its own methods beside each other, taking turns in one run."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmark.domain import Domain
from benchmark.errors import InputError
from benchmark.precision import resolve_precision
from benchmark.splits import Split, leave_one_out

from . import generated
from .contenders import CPU, Contender, Reference, alternate, build, epoch, evaluation, reference
from .sizes import BATCH_TARGETS, FULL, Sizes

pytestmark = pytest.mark.speed

PRECISIONS = ("float32", "bfloat16")


@pytest.fixture(scope="session")
def split(target: Domain) -> Split:
    return leave_one_out(target)


def n_targets(split: Split) -> int:
    return int((split.train.lengths - 1).clip(min=0).sum())


def about(target: Domain) -> dict[str, Any]:
    counts = {"users": target.n_users, "items": target.n_items, "interactions": target.n_interactions}
    return {"data": target.name, **counts}


def recbole(
    target: Domain, width: int, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Reference:
    try:
        return reference(target, width, tmp_path_factory.mktemp("recbole"), monkeypatch)
    except InputError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("which", [0, 1], ids=["wide", "narrow"])
def test_sasrec_epoch(
    which: int,
    target: Domain,
    split: Split,
    sizes: Sizes,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    benchmark: Any,
) -> None:
    width = sizes.widths[which]
    theirs = recbole(target, width, tmp_path_factory, monkeypatch)
    targets = n_targets(split)
    assert len(theirs.train_data.dataset) == targets, "both must train on the same (prefix, next item) pairs"
    ours = [epoch(precision, build("SASRec", split, {"width": width}), split, precision) for precision in PRECISIONS]
    contenders = alternate([*theirs.epochs(targets, sizes), *ours], sizes.rounds, benchmark)
    benchmark.extra_info.update(
        kind="comparison",
        work="train",
        width=width,
        steps=targets / BATCH_TARGETS,
        contenders=contenders,
        **about(target),
    )


@pytest.mark.parametrize("which", [0, 1], ids=["wide", "narrow"])
def test_full_ranking(
    which: int,
    target: Domain,
    split: Split,
    sizes: Sizes,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    benchmark: Any,
) -> None:
    width = sizes.widths[which]
    theirs = recbole(target, width, tmp_path_factory, monkeypatch)
    model = build("SASRec", split, {"width": width})
    ours = [evaluation(precision, model, split, precision) for precision in PRECISIONS]
    contenders = alternate([theirs.evaluation(), *ours], sizes.rounds, benchmark)
    benchmark.extra_info.update(
        kind="comparison", work="evaluate", width=width, steps=None, contenders=contenders, **about(target)
    )


def unisrec_contenders(split: Split, sizes: Sizes, work: str) -> list[Contender]:
    """SASRec, then UniSRec_t as pre-trained (its Transformer frozen) and from scratch."""
    text = generated.text(split.n_items, sizes.text_width)
    config = {"width": sizes.widths[0]}
    scratch = build("UniSRec_t-scratch", split, config, text=text)
    universal = cast(nn.Module, scratch.universal).state_dict()
    models = {
        "SASRec": build("SASRec", split, config),
        "UniSRec_t": build("UniSRec_t", split, config, text=text, pretrained=universal),
        "UniSRec_t-scratch": scratch,
    }
    make, precision = epoch if work == "train" else evaluation, resolve_precision("auto", CPU)
    return [make(name, model, split, precision) for name, model in models.items()]


@pytest.mark.parametrize("work", ["train", "evaluate"])
def test_unisrec(work: str, target: Domain, split: Split, sizes: Sizes, benchmark: Any) -> None:
    contenders = alternate(unisrec_contenders(split, sizes, work), sizes.rounds, benchmark)
    benchmark.extra_info.update(
        kind="methods",
        work=work,
        width=sizes.widths[0],
        text_width=sizes.text_width,
        steps=n_targets(split) / BATCH_TARGETS if work == "train" else None,
        contenders=contenders,
        **about(target),
    )


def test_share_of_the_matrix_peak(split: Split, sizes: Sizes, benchmark: Any) -> None:
    """Operations of matrix products in an epoch, and how many a second the machine does when it does nothing else."""
    width, contenders = sizes.widths[0], []
    for precision in PRECISIONS:
        n = sizes.matrix
        a, b = (torch.randn(n, n, dtype=getattr(torch, precision)) for _ in range(2))

        def multiply(a: torch.Tensor = a, b: torch.Tensor = b, n: int = n) -> None:
            for _ in range(20):
                torch.mm(a, b)

        ours = epoch(f"epoch {precision}", build("SASRec", split, {"width": width}), split, precision)
        contenders += [Contender(name=f"peak {precision}", run=multiply, warm_up=multiply, share=20), ours]
    with FlopCounterMode(display=False) as counter:
        contenders[-1].run()
    entries = alternate(contenders, sizes.rounds if sizes is not FULL else 5, benchmark)
    benchmark.extra_info.update(
        kind="peak",
        width=width,
        epoch_flop=counter.get_total_flops(),
        product_flop=2 * sizes.matrix**3,
        contenders=entries,
    )
