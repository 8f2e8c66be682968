"""Item texts become the same vectors every time, are cached safely, and a bad encoder is said to be one."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmark import encode as encode_module
from benchmark import language_model
from benchmark.encode import drop_words, encode, provenance
from benchmark.encoders import BUILT_IN, MINILM_PACKAGE, EncoderSpec
from benchmark.errors import InputError

ROOT = Path(__file__).parents[1]
TEXTS = ["Red paper lantern.", "", "steel drill bit, 4 mm, for metal", "x", "Red paper lantern.", "drill bit"]
SENTENCES = [
    "Stainless steel digital caliper, 150 mm.",
    "Vernier calliper made of steel for measuring length.",
    "Organic green tea bags, 100 count.",
    "Loose leaf tea, green, from Japan.",
]


def has_minilm() -> bool:
    try:
        importlib.metadata.distribution(MINILM_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


needs_minilm = pytest.mark.skipif(not has_minilm(), reason=f"the package {MINILM_PACKAGE} is not installed")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of width 16 with random weights, saved as transformers saves one."""
    from transformers import AutoTokenizer, BertConfig, BertModel

    folder = tmp_path_factory.mktemp("models") / "tiny-bert"
    folder.mkdir()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [*special, "red", "paper", "lantern", "steel", "drill", "bit", "for", "metal", "mm", "4", ",", "."]
    (folder / "vocab.txt").write_text("\n".join(words))
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 32}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        initializer_range=0.5,
    )
    BertModel(config).save_pretrained(folder)
    pieces = AutoTokenizer.from_pretrained(folder)("Red drill x").input_ids
    assert [words[piece] for piece in pieces] == ["[CLS]", "red", "drill", "[UNK]", "[SEP]"]
    return folder


def tiny_spec(folder: Path, pooling: str = "mean", max_length: int = 32) -> EncoderSpec:
    return EncoderSpec.parse(f"{folder},pooling={pooling},max_length={max_length}")


def change_weights(folder: Path, target: Path, *, drop: str | None = None, spoil: str | None = None) -> Path:
    """A copy of a model with one tensor left out or made NaN."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, target)
    weights = load_file(target / "model.safetensors")
    if drop is not None:
        del weights[drop]
    if spoil is not None:
        weights[spoil].fill_(float("nan"))
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    return target


def cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


# hash encoder


def test_hash_encoder_gives_these_numbers_everywhere(tmp_path: Path) -> None:
    """One word twice and the pair of both: counts 2 and 1, over the root of 5, signs and places by MurmurHash3."""
    matrix = encode(["Lantern lantern", "a !", "lantern"], "hash", tmp_path).matrix
    assert matrix.dtype == np.float32
    assert matrix.shape == (3, 256)
    places = {int(place): round(float(matrix[0, place]) * 5**0.5, 5) for place in np.flatnonzero(matrix[0])}
    assert places == {105: -1.0, 138: -2.0}
    assert not matrix[1].any(), "a text without a token of two characters gives zeros"
    assert np.count_nonzero(matrix[2]) == 1
    assert abs(matrix[2]).max() == 1


def test_hash_encoder_sees_shared_words(tmp_path: Path) -> None:
    matrix = encode(TEXTS, "hash", tmp_path).matrix
    assert cosine(matrix[2], matrix[5]) > 0.3 > abs(cosine(matrix[0], matrix[5]))


# cache


def test_a_second_call_reads_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = encode(TEXTS, "hash", tmp_path)
    monkeypatch.delattr(encode_module, "_encode_by_hash")
    second = encode(TEXTS, "hash", tmp_path)
    assert second.sha256 == first.sha256
    assert isinstance(second.matrix, np.memmap)
    assert not second.matrix.flags.writeable
    assert second.provenance == first.provenance
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".npy"]


def test_the_sha256_is_that_of_the_raw_rows(tmp_path: Path) -> None:
    import hashlib

    encoded = encode(TEXTS, "hash", tmp_path)
    assert encoded.sha256 == hashlib.sha256(np.array(encoded.matrix).astype("<f4").tobytes()).hexdigest()


@pytest.mark.parametrize("fault", ["truncated", "emptied", "bit flipped", "note lost", "note broken", "note of a list"])
def test_a_damaged_cache_is_made_again(tmp_path: Path, fault: str) -> None:
    whole = encode(TEXTS, "hash", tmp_path)
    expected, sha256 = np.array(whole.matrix), whole.sha256
    (matrix,), (note,) = tmp_path.glob("*.npy"), tmp_path.glob("*.json")
    content = matrix.read_bytes()
    if fault == "truncated":
        matrix.write_bytes(content[: len(content) // 2])
    elif fault == "emptied":
        matrix.write_bytes(b"")
    elif fault == "bit flipped":
        matrix.write_bytes(content[:-1] + bytes([content[-1] ^ 64]))
    elif fault == "note lost":
        note.unlink()
    else:
        note.write_text("[]" if fault == "note of a list" else note.read_text()[:20])
    again = encode(TEXTS, "hash", tmp_path)
    np.testing.assert_array_equal(again.matrix, expected)
    assert again.sha256 == sha256 == json.loads(note.read_text())["sha256"]
    assert matrix.read_bytes() == content


def test_other_texts_and_another_order_are_other_entries(tmp_path: Path) -> None:
    encode(["ab", "c"], "hash", tmp_path)
    encode(["a", "bc"], "hash", tmp_path)
    encode(["c", "ab"], "hash", tmp_path)
    assert len(list(tmp_path.glob("*.npy"))) == 3


def test_a_model_is_known_by_content_not_by_place(tiny: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / tiny.name
    shutil.copytree(tiny, moved)
    here, there = provenance(tiny_spec(tiny)), provenance(tiny_spec(moved))
    assert here == there
    assert str(tiny.parent) not in json.dumps(here)
    other = change_weights(tiny, tmp_path / "other" / tiny.name, spoil="embeddings.LayerNorm.bias")
    assert provenance(tiny_spec(other))["weights"] != here["weights"]
    assert provenance(tiny_spec(tiny, pooling="cls")) != here
    assert provenance(tiny_spec(tiny, max_length=8)) != here


# language models


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_pooling_by_hand(tiny: Path, tmp_path: Path, pooling: str) -> None:
    """One text at a time, without padding, through the model itself."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(tiny), AutoModel.from_pretrained(tiny).eval()
    matrix = encode(TEXTS, tiny_spec(tiny, pooling), tmp_path, progress=False).matrix
    for text, row in zip(TEXTS, matrix, strict=True):
        with torch.no_grad():
            states_LD = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        expected_D = states_LD[0] if pooling == "cls" else states_LD.mean(0)
        np.testing.assert_allclose(row, expected_D.numpy(), atol=1e-5)


def test_batches_and_order_change_nothing(tiny: Path, tmp_path: Path) -> None:
    spec = tiny_spec(tiny)
    one = encode(TEXTS, spec, tmp_path / "a", batch_tokens=1).matrix
    all_at_once = encode(TEXTS, spec, tmp_path / "b", batch_tokens=10_000).matrix
    backwards = encode(TEXTS[::-1], spec, tmp_path / "c").matrix[::-1]
    np.testing.assert_allclose(one, all_at_once, atol=1e-5)
    np.testing.assert_allclose(backwards, all_at_once, atol=1e-5)
    np.testing.assert_array_equal(all_at_once[0], all_at_once[4])


def test_long_texts_are_cut(tiny: Path, tmp_path: Path) -> None:
    """Six pieces are [CLS], the first four words and [SEP]."""
    long, short = "red paper lantern steel drill bit " * 20, "red paper lantern steel"
    matrix = encode([long, short], tiny_spec(tiny, max_length=6), tmp_path).matrix
    np.testing.assert_allclose(matrix[0], matrix[1], atol=1e-5)


def test_bfloat16_is_close_and_comes_back_as_float32(tiny: Path, tmp_path: Path) -> None:
    exact = encode(TEXTS, tiny_spec(tiny), tmp_path).matrix
    reduced = encode(TEXTS, EncoderSpec.parse(f"{tiny},pooling=mean,max_length=32,dtype=bfloat16"), tmp_path).matrix
    assert reduced.dtype == np.float32
    assert not np.array_equal(exact, reduced)
    assert min(cosine(a, b) for a, b in zip(exact, reduced, strict=True)) > 0.99


def test_encoding_leaves_the_random_generator_alone(tiny: Path, tmp_path: Path) -> None:
    bare = change_weights(tiny, tmp_path / "no-pooler", drop="pooler.dense.weight")
    state = torch.get_rng_state()
    encode(TEXTS, tiny_spec(bare), tmp_path)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_log_gets_plain_lines(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(language_model, "SECONDS_A_LINE", 0.0)
    encode(TEXTS, tiny_spec(tiny), tmp_path / "a", label="lanterns", batch_tokens=1)
    told = capfd.readouterr()
    assert told.out == ""
    assert told.err.splitlines()[-1] == "encoding lanterns: 100%"
    assert all(line.startswith("encoding lanterns: ") for line in told.err.splitlines()), "transformers is silent"
    encode(TEXTS, tiny_spec(tiny), tmp_path / "b", progress=False)
    assert capfd.readouterr().err == ""


@needs_minilm
def test_minilm_puts_like_things_together(tmp_path: Path) -> None:
    encoded = encode(SENTENCES, "minilm", tmp_path)
    assert encoded.matrix.shape == (4, 384)
    assert encoded.provenance["revision"].startswith(MINILM_PACKAGE)
    callipers, teas = cosine(*encoded.matrix[:2]), cosine(*encoded.matrix[2:])
    across = max(cosine(a, b) for a in encoded.matrix[:2] for b in encoded.matrix[2:])
    assert min(callipers, teas) > across + 0.3


@needs_minilm
def test_minilm_does_not_depend_on_batches(tmp_path: Path) -> None:
    alone = encode(SENTENCES, "minilm", tmp_path / "a", batch_tokens=1).matrix
    together = encode(SENTENCES[::-1], "minilm", tmp_path / "b").matrix[::-1]
    np.testing.assert_allclose(alone, together, atol=1e-5)


def test_a_model_loads_from_the_repository_root(tiny: Path, tmp_path: Path) -> None:
    """There the folder ``datasets`` looks like a package, which transformers may take for Hugging Face's."""
    code = (
        "import importlib.util, sys; from pathlib import Path; from benchmark.encode import encode; "
        "assert importlib.util.find_spec('datasets') is not None; "
        "print(encode(['red paper', 'drill'], sys.argv[1], Path(sys.argv[2])).matrix.shape)"
    )
    spec = f"{tiny},max_length=32"
    command = [sys.executable, "-c", code, spec, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "(2, 16)\n", "")


# faults


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "needs a name"),
        ("minilm,pooling", "'pooling' is not KEY=VALUE"),
        ("minilm,poling=cls", "unknown encoder option 'poling'; did you mean 'pooling'"),
        ("minilm,pooling=max", "unknown pooling 'max'; did you mean 'mean'"),
        ("minilm,dtype=float16", "unknown dtype 'float16'"),
        ("minilm,max_length=many", "whole number, not 'many'"),
        ("minilm,max_length=2", "at least 3"),
        ("hash,max_length=8", "takes no options"),
        ("no/such/model", "no such folder"),
    ],
)
def test_a_bad_spec_is_refused(spec: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        encode(TEXTS, spec, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_model_out_of_reach_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def offline(*_: object, **__: object) -> str:
        raise LocalEntryNotFoundError("Cannot find the requested files in the disk cache.")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(InputError, match=r"'bert-base-uncasd': .*check the name and the network.*'bert-base-uncased'"):
        encode(TEXTS, "bert-base-uncasd", tmp_path)


def test_options_refine_a_built_in_encoder() -> None:
    spec = EncoderSpec.parse("minilm, max_length=64")
    assert (spec.name, spec.pooling, spec.max_length) == (BUILT_IN["minilm"].name, "mean", 64)
    assert EncoderSpec.parse("minilm") == BUILT_IN["minilm"]


def test_texts_that_are_all_blank_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lanterns: none of the 2 items has a text"):
        encode(["", " "], "hash", tmp_path, label="lanterns")


def test_a_broken_model_is_refused_and_leaves_nothing(tiny: Path, tmp_path: Path) -> None:
    def refused(folder: Path, message: str, options: str = ",max_length=32") -> None:
        with pytest.raises(InputError, match=message):
            encode(TEXTS, f"{folder}{options}", tmp_path / "cache")

    refused(tiny, "max_length 512 is over the model's 32", options="")
    refused(tiny, "a folder has no revision", options=",revision=main")
    nan = change_weights(tiny, tmp_path / "nan", spoil="embeddings.LayerNorm.bias")
    refused(nan, "gives NaN or infinity for 5 texts, first for item row 0")
    lacking = change_weights(tiny, tmp_path / "lacking", drop="encoder.layer.1.output.dense.weight")
    refused(lacking, r"lack 1 tensors, for example encoder\.layer\.1\.output\.dense\.weight")
    pickled = tmp_path / "pickled"
    shutil.copytree(tiny, pickled)
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    refused(pickled, "only pickled ones, which are never read")
    cut = tmp_path / "cut"
    shutil.copytree(tiny, cut)
    (cut / "model.safetensors").write_bytes((cut / "model.safetensors").read_bytes()[:1000])
    refused(cut, "cannot be loaded")
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(empty, r"no \*\.safetensors weights there; save")
    assert not (tmp_path / "cache").exists()


# word drop


@given(st.lists(st.text(alphabet="ab c", max_size=20), max_size=5), st.integers(0, 2**32))
def test_word_drop_keeps_some_words_in_order(texts: list[str], seed: int) -> None:
    for text, kept in zip(texts, drop_words(texts, 0.5, seed), strict=True):
        rest = iter(text.split())
        assert all(word in rest for word in kept.split())
    assert drop_words(texts, 0.5, seed) == drop_words(texts, 0.5, seed)
    assert drop_words(texts, 0.0, seed) == [" ".join(text.split()) for text in texts]
    assert drop_words(texts, 1.0, seed) == [""] * len(texts)


def test_word_drop_rate() -> None:
    """20,000 words: 0.15 within four standard errors (0.0025)."""
    kept = sum(len(text.split()) for text in drop_words(["one two three four"] * 5000, seed=1))
    assert abs(1 - kept / 20_000 - 0.15) < 0.0101
    assert drop_words(["one two three four"] * 50, seed=1) != drop_words(["one two three four"] * 50, seed=2)
