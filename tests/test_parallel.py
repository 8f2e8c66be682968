"""Two processes that share every batch do what one does: losses, gradients and weights; and a mistake is told once."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import side_by_side
import torch
from side_by_side import CASES, SPEC, Spy, make, notes, taught, tensors

from benchmark import parallel
from benchmark.checkpoint import load_tensors
from benchmark.errors import InputError

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes have left."""
    folder = tmp_path_factory.mktemp("two")
    side_by_side.run(folder)
    return folder


# --- the parts


def test_rows_of_unequal_number_are_gathered_with_their_gradients(place: Path) -> None:
    """Row i's gradient is i from the first process's part of the loss and 2 i from the second's: 3 i, by hand."""
    one, other = notes(place, "parts")
    everything = [[0, 1], [2, 3], [4, 5], [10, 11], [12, 13]]
    assert one["both"] == [[3, 2], 0, everything, [5, 5, 5, 6, 6], [[0, 0], [3, 3], [6, 6]]]
    assert other["both"] == [[3, 2], 3, everything, [5, 5, 5, 6, 6], [[9, 9], [12, 12]]]
    assert one["one is empty"] == [[0, 2], 0, everything[3:], [6, 6], []]
    assert other["one is empty"] == [[0, 2], 0, everything[3:], [6, 6], [[0, 0], [3, 3]]]


def test_parts_of_a_mean_count_by_their_rows(place: Path) -> None:
    one, other = notes(place, "parts")
    assert (one["parts of a mean"], other["parts of a mean"]) == ([3.0], [1.0])
    assert one["total"] == other["total"] == [2.0, 1.0]


def test_gradients_are_added_up_where_there_are_any(place: Path) -> None:
    expected = {"both": [[4.0, 4.0], [4.0, 4.0]], "second": [[0.0, 1.0], [2.0, 3.0]], "nobody": None, "frozen": None}
    assert notes(place, "gradients") == [expected, expected]


def test_a_mistake_of_one_is_told_by_one_and_ends_all(place: Path) -> None:
    one, other = notes(place, "agreed")
    assert (one["none"], other["none"]) == ("all is well", "all is well")
    assert one["second"] == "ToldElsewhere: a mistake found by 1"
    assert other["second"] == "InputError: a mistake found by 1"
    assert one["both"] == "InputError: a mistake found by 0"
    assert other["both"] == "ToldElsewhere: a mistake found by 0"
    assert one["file"].startswith("ToldElsewhere: ")
    assert other["file"].startswith("FileNotFoundError: ")
    assert (one["same"], other["same"]) == ("None", "None")
    assert (one["not the same"], other["not the same"]) == ("InputError: not the same", "ToldElsewhere: not the same")


def test_the_first_process_is_first(place: Path) -> None:
    one, other = notes(place, "agreed")
    assert (one["in turn"], other["in turn"]) == ("0", "0")
    assert (one["leads"], other["leads"]) == ("True", "False")


def test_nothing_of_a_group_is_left_when_it_ends(place: Path) -> None:
    """A thread of its that is still there when Python ends may abort the process."""
    for during, after in notes(place, "threads"):
        if not during:
            pytest.skip("the system does not show a process's threads")
        assert any("gloo" in name for name in during)
        assert not any("gloo" in name for name in after)


def test_alone_nothing_is_done() -> None:
    x = torch.ones(3, 2, requires_grad=True)
    assert parallel.gather(x, parallel.rows(3)) is x
    assert parallel.part_of_mean(x, 3) is x
    assert parallel.total(x) is x
    assert (parallel.rank(), parallel.world_size(), parallel.leads()) == (0, 1, True)
    assert parallel.leader_first(lambda: "done") == "done"
    with pytest.raises(InputError, match="as it is"), parallel.agreed():
        raise InputError("as it is")


# --- training


@pytest.mark.parametrize("case", CASES, ids=", ".join)
def test_two_processes_teach_what_one_does(case: tuple[str, str], place: Path) -> None:
    both = tensors(place, f"taught-{CASES.index(case)}")
    alone = taught(*case)
    pairs = torch.stack([found.pop("pairs") for found in both])
    assert torch.equal(pairs.sum(0), alone.pop("pairs")), "the batches are not those of one process"
    assert (pairs[0] != pairs[1]).any(), "both processes have equally many pairs: nothing is weighted"
    assert len(pairs[0]) >= 2
    for name, expected in alone.items():
        assert torch.equal(both[0][name], both[1][name]), f"{name} differs between the processes"
        # a gradient that vanishes by symmetry is rounding error: it is small beside the others
        kind = name.partition(" ")[0]
        largest = max(float(value.abs().max()) for other, value in alone.items() if other.startswith(kind))
        off = float((both[0][name] - expected).abs().max())
        assert off <= 1e-5 * largest, f"{name} is off by {off / largest:.1e}"
    assert both[0].keys() == alone.keys()
    start = side_by_side.without_chance(*case).state_dict()
    assert any(not torch.equal(alone[f"weight {name}"], value) for name, value in start.items())


# --- pre-training


def test_weights_are_the_same_to_the_last_bit_in_both(place: Path) -> None:
    """Also where the second process began with others."""
    one, other = tensors(place, "weights")
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_one_process_writes_the_artefact_and_all_are_told_where_it_is(place: Path) -> None:
    one, other = notes(place, "pretrained")
    assert one["path"] == other["path"]
    assert Path(one["path"]).is_file()
    states, others = (
        [name for name in one["written"] if name.startswith(".state-") is state] for state in (True, False)
    )
    assert states
    assert others[0] == Path(one["path"]).name
    assert other["written"] == []


def test_the_artefact_of_two_has_the_key_of_one_and_says_how_many_made_it(place: Path, tmp_path: Path) -> None:
    path = Path(notes(place, "pretrained")[0]["path"])
    alone = make(SPEC, tmp_path)
    assert path.name == alone.name
    found, expected = (load_tensors(each) for each in (path, alone))
    assert found is not None
    assert expected is not None
    assert (found[1]["processes"], expected[1]["processes"]) == (2, 1)
    assert found[1]["key_parts"] == expected[1]["key_parts"]
    losses = [point["loss"] for point in found[1]["curve"]]
    assert len(losses) == 4
    assert losses[-1] < losses[0]


def test_two_processes_go_on_where_they_stopped(place: Path) -> None:
    one, other = notes(place, "pretrained")
    assert one["log"][0] == other["log"][0] == "resumed after epoch 2"
    straight, resumed = (load_tensors(Path(one[name])) for name in ("path", "again"))
    assert straight is not None
    assert resumed is not None
    assert all(torch.equal(value, resumed[0][name]) for name, value in straight[0].items())


def test_both_see_one_order_and_draw_apart(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Spy, "seen", [])
    make(replace(SPEC, family="Spy", epochs=2), tmp_path, side_by_side.SPY)
    one, other = notes(place, "seen")
    assert len(one) == len(other) == len(Spy.seen) > 4
    for (seed, first), (other_seed, second), (alone_seed, both) in zip(one, other, Spy.seen, strict=True):
        assert first
        assert second
        assert Counter(first + second) == Counter(both)
        assert seed == alone_seed
        assert other_seed != seed


def test_what_cannot_be_shared_is_refused_by_both(place: Path) -> None:
    one, other = notes(place, "stumbled")
    assert one["another cache"].startswith("InputError: ")
    assert "one shared folder" in one["another cache"]
    assert other["another cache"].startswith("ToldElsewhere: ")
    assert one["too few"] == "InputError: 1 training sequences can't be shared by 2 processes; start fewer"
    assert other["too few"].startswith("ToldElsewhere: ")


def test_a_loss_that_is_no_number_for_one_ends_both(place: Path) -> None:
    one, other = notes(place, "stumbled")
    assert one["no number"] == other["no number"]
    assert "diverged" in one["no number"]
    assert not list((place / "diverged").rglob("*.safetensors"))


# --- the command line


def test_a_wrong_name_ends_all_with_code_2_and_one_message(place: Path) -> None:
    one, other = notes(place, "command")
    assert (one[0], other[0]) == (2, 2)
    assert one[2] == "error: unknown suite 'dmeo'; did you mean 'demo'?\n"
    assert other[1:] == ["", ""]
