from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from meds_builder import make_records, make_vocabulary

from checker.attacks.trajectory_memorization.code_labels import label_vectors, labels_identity
from checker.errors import TargetError
from checker.policy.documents import TokenizationSpec
from checker.records.cohort import Cohort
from checker.records.tokenization import Tokenizer

Cosine = Callable[[str, str], float]

SPELLINGS = {
    "DIAGNOSIS//ICD//10//B20": "Human immunodeficiency virus disease",
    "DIAGNOSIS//ICD//10//B24": None,
    "DIAGNOSIS//ICD//10//E119": "Type 2 diabetes mellitus without complications",
    "DIAGNOSIS//ICD//10//E1165": "Type 2 diabetes mellitus with hyperglycemia",
    "DIAGNOSIS//ICD//10//I10": "Essential hypertension",
    "CONDITION//SNOMED//44054006": "Diabetes mellitus type 2",
    "CONDITION//SNOMED//44054999": "Fracture of ankle",
    "LAB//LOINC//718-7": "Hemoglobin",
    "MEDICATION//metformin": None,
}
BINS = ["LAB//LOINC//718-7//Q1", "LAB//LOINC//718-7//Q2"]
TOKENS = ["[PAD]", *SPELLINGS, *BINS]
NOBODY, _ = make_records([])
ID = {token.split("//", 1)[-1]: number for number, token in enumerate(TOKENS)}


def cohort(parents: Mapping[str, tuple[str, ...]] | None = None) -> Cohort:
    return Cohort(
        name="made-up",
        codes=tuple(SPELLINGS),
        descriptions=tuple(SPELLINGS.values()),
        parents=tuple((parents or {}).get(code, ()) for code in SPELLINGS),
        members=NOBODY,
        nonmembers=NOBODY,
        files={},
        sha256="",
    )


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    import pyarrow as pa
    import pyarrow.parquet as pq

    base = tmp_path_factory.mktemp("bins")
    pq.write_table(pa.table({"code": ["LAB//LOINC//718-7"], "edges": [[10.0]]}), base / "b.parquet")
    spec = {
        "vocabulary": "unused",
        "specials": {"pad": "[PAD]"},
        "values": {"bins": "b.parquet", "token": "{code}//Q{bin}"},
    }
    return Tokenizer(
        TokenizationSpec.model_validate(spec), vocabulary=make_vocabulary(TOKENS), base=base
    )


@pytest.fixture(scope="module")
def cosine(rules: Tokenizer) -> Cosine:
    vectors = label_vectors("lexical", cohort=cohort(), tokenizer=rules, base=Path())
    return lambda a, b: float(vectors.cosines(np.array([ID[a]]), np.array([ID[b]]))[0, 0])


# --- lexical ------------------------------------------------------------------------------------


def test_a_code_is_exactly_like_itself(cosine: Cosine) -> None:
    assert all(cosine(name, name) == 1 for name in ID if name != "[PAD]")


def test_codes_of_one_branch_are_nearer_than_codes_of_one_system(cosine: Cosine) -> None:
    # B20 and B24 share no word of a description, only the prefixes B and B2
    assert cosine("ICD//10//B20", "ICD//10//B24") > cosine("ICD//10//B20", "ICD//10//I10") > 0


def test_shared_words_join_codes_of_different_systems(cosine: Cosine) -> None:
    same_disease = cosine("ICD//10//E119", "SNOMED//44054006")
    assert same_disease > 0.2
    assert same_disease > cosine("ICD//10//I10", "SNOMED//44054006") == 0


def test_neighbouring_numbers_mean_nothing_where_a_system_has_no_hierarchy(cosine: Cosine) -> None:
    # 44054006 and 44054999 share CONDITION and CONDITION//SNOMED, and no digits
    assert cosine("SNOMED//44054006", "SNOMED//44054999") < cosine("ICD//10//B20", "ICD//10//B24")


def test_bins_of_one_lab_are_alike_and_not_the_same(cosine: Cosine) -> None:
    one, other = (token.split("//", 1)[-1] for token in BINS)
    assert 0.5 < cosine(one, other) < 1
    assert cosine(one, "ICD//10//I10") == 0


def test_a_parent_code_is_an_ancestor(rules: Tokenizer) -> None:
    parents = {"MEDICATION//metformin": ("ATC//A10",), "DIAGNOSIS//ICD//10//I10": ("ATC//A10",)}
    vectors = label_vectors("lexical", cohort=cohort(parents), tokenizer=rules, base=Path())
    pair = np.array([ID["metformin"]]), np.array([ID["ICD//10//I10"]])
    assert vectors.cosines(*pair)[0, 0] > 0.1


def test_tokens_without_a_code_are_like_nothing(rules: Tokenizer) -> None:
    vectors = label_vectors("lexical", cohort=cohort(), tokenizer=rules, base=Path())
    others = np.arange(1, len(TOKENS))
    assert not vectors.cosines(np.array([0]), others).any()


def test_lexical_labels_are_the_same_every_time(rules: Tokenizer) -> None:
    one, other = (
        label_vectors("lexical", cohort=cohort(), tokenizer=rules, base=Path()) for _ in range(2)
    )
    assert (one.vectors != other.vectors).nnz == 0
    assert not isinstance(one.vectors, np.ndarray)
    lengths = np.sqrt(one.vectors.multiply(one.vectors).sum(axis=1))
    assert lengths[1:] == pytest.approx(np.ones(len(TOKENS) - 1))


# --- sentence-transformers ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random BERT, laid out as sentence-transformers does."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from tokenizers import Tokenizer as WordTokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("encoder")
    texts = " ".join(filter(None, SPELLINGS.values())).split()
    known = ["[PAD]", "[UNK]", *dict.fromkeys(texts)]
    words = WordTokenizer(WordLevel({w: i for i, w in enumerate(known)}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(known),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=32,
        initializer_range=0.5,
    )
    BertModel(config).save_pretrained(folder)
    lay_out(folder, pooling="mean_tokens")
    return folder


def lay_out(folder: Path, *, pooling: str, extra: Sequence[str] = ()) -> None:
    (folder / "1_Pooling").mkdir(exist_ok=True)
    modes = {f"pooling_mode_{mode}": mode == pooling for mode in ("cls_token", "mean_tokens")}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(modes))
    kinds = [("Transformer", ""), ("Pooling", "1_Pooling"), *((kind, kind) for kind in extra)]
    (folder / "modules.json").write_text(
        json.dumps(
            [{"type": f"sentence_transformers.models.{kind}", "path": path} for kind, path in kinds]
        )
    )


def test_a_local_sentence_model_embeds_the_labels_by_their_mean(
    rules: Tokenizer, encoder: Path
) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    vectors = label_vectors(encoder.name, cohort=cohort(), tokenizer=rules, base=encoder.parent)
    assert vectors.vectors.shape == (len(TOKENS), 16)
    assert not vectors.vectors[0].any()  # [PAD] has no label
    text = SPELLINGS["DIAGNOSIS//ICD//10//E119"]
    words = AutoTokenizer.from_pretrained(encoder)(text, return_tensors="pt")
    with torch.inference_mode():
        hidden = AutoModel.from_pretrained(encoder)(**words).last_hidden_state[0].mean(0).numpy()
    expected = hidden / np.linalg.norm(hidden)
    assert vectors.vectors[ID["ICD//10//E119"]] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("pooling", "extra", "said"),
    [("cls_token", (), "mean over tokens"), ("mean_tokens", ("Dense",), "a layer 'Dense'")],
)
def test_a_model_that_would_be_misread_is_refused(
    rules: Tokenizer, encoder: Path, pooling: str, extra: Sequence[str], said: str
) -> None:
    lay_out(encoder, pooling=pooling, extra=extra)
    try:
        with pytest.raises(TargetError, match=said):
            label_vectors(str(encoder), cohort=cohort(), tokenizer=rules, base=Path())
    finally:
        lay_out(encoder, pooling="mean_tokens")


def test_a_missing_folder_is_named(rules: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"nowhere: there is no such folder; `labels` is"):
        label_vectors("nowhere", cohort=cohort(), tokenizer=rules, base=tmp_path)


def test_the_identity_changes_with_the_files(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"one")
    first = labels_identity("model", base=tmp_path)
    (tmp_path / "model" / "model.safetensors").write_bytes(b"other")
    assert labels_identity("model", base=tmp_path) != first
    assert labels_identity("lexical", base=tmp_path) == "lexical 2"
