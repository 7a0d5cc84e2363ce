"""Every file that the loader opens is hashed, and nothing in a model's folder redirects it."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
from safetensors import safe_open
from transformers import AutoModelForCausalLM, modeling_utils

from checker.errors import TargetError
from checker.policy.documents import ModelSpec
from checker.targets.backends.checkpoint import HuggingFaceBackend
from checker.verification.model_files import check_model

_listening: list[list[str]] = []


def _listen(event: str, arguments: tuple[Any, ...]) -> None:
    if _listening and event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)):
        _listening[-1].append(os.fsdecode(arguments[0]))


sys.addaudithook(_listen)  # it cannot be taken off again, and hears nothing outside of `recorded`


@contextmanager
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Record every file that Python opens, and those that safetensors opens past Python."""
    opened: list[str] = []

    def opening(file: str, *arguments: Any, **settings: Any) -> Any:
        opened.append(str(file))
        return safe_open(file, *arguments, **settings)

    with monkeypatch.context() as patched:
        patched.setattr(modeling_utils, "safe_open", opening)
        _listening.append(opened)
        try:
            yield opened
        finally:
            _listening.pop()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and another one of the same shape."""
    root = tmp_path_factory.mktemp("saved")
    tiny_models.save_gpt2(root / "gpt2")
    tiny_models.save_llama(root / "llama")
    tiny_models.save_llama(root / "other", seed=9)
    tiny_models.save_mamba2(root / "mamba2")
    sharded = AutoModelForCausalLM.from_pretrained(root / "gpt2")
    sharded.save_pretrained(root / "sharded", max_shard_size="20KB")
    return root


@pytest.fixture
def model(saved: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(saved / "llama", tmp_path / "model"))


def described(folder: Path, *, trusted: bool = False) -> Any:
    spec = ModelSpec(path=folder.name, device="cpu", trust_remote_code=trusted)
    return HuggingFaceBackend().describe(spec, folder.parent)


def opened(folder: Path, *, trusted: bool = False) -> Any:
    spec = ModelSpec(path=folder.name, device="cpu", trust_remote_code=trusted)
    return HuggingFaceBackend().open(spec, folder.parent, pad_id=None, eos_id=None)


def configure(folder: Path, **entries: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def refused(folder: Path, message: str, *, trusted: bool = False) -> None:
    for attempt in (described, opened):
        with pytest.raises(TargetError, match=message) as caught:
            attempt(folder, trusted=trusted)
        assert str(caught.value).startswith(str(folder))


# --- what the loader opens ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gpt2", "llama", "mamba2", "sharded"])
def test_every_file_that_the_loader_opens_is_hashed(
    saved: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = {(saved / name / file).resolve() for file in described(saved / name).files}
    opened(saved / "other")  # imports what loads models, which opens files of its own
    with recorded(monkeypatch) as files:
        opened(saved / name)
    found = {Path(file).resolve() for file in files}
    weights = {file for file in hashed if file.suffix == ".safetensors"}
    assert saved / name / "config.json" in found  # what is recorded is what is opened
    assert weights <= found
    installed = (Path(sys.prefix), Path(sys.base_prefix), Path("/proc"), Path("/sys"), Path("/dev"))
    elsewhere = {
        file for file in found - hashed
        if not any(file.is_relative_to(one) for one in installed)
    }  # fmt: skip
    assert elsewhere == set()


def test_the_files_of_trusted_code_are_hashed(
    saved: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (model / "modeling_own.py").write_text(
        "from transformers import LlamaForCausalLM\nclass Own(LlamaForCausalLM):\n    pass\n"
    )
    configure(model, auto_map={"AutoModelForCausalLM": "modeling_own.Own"})
    hashed = {(model / file).resolve() for file in described(model, trusted=True).files}
    with recorded(monkeypatch) as files:
        opened(model, trusted=True)
    inside = {Path(file).resolve() for file in files if Path(file).is_relative_to(model)}
    assert model / "modeling_own.py" in inside
    assert inside <= hashed


def test_what_own_code_takes_has_to_be_declared(model: Path) -> None:
    (model / "modeling_own.py").write_text(
        """\
from transformers import LlamaForCausalLM

class Own(LlamaForCausalLM):
    def forward(
        self, input_ids=None, num_visits=None, visit_state=None, label_ids=None, age_embeds=None,
        segment=0, attention_mask=None, position_ids=None, token_type_ids=None, labels=None,
        inputs_embeds=None, cache_position=None, return_last=False, mode="plain",
        output_gates: bool | None = None, **others
    ):
        return super().forward(
            input_ids, attention_mask=attention_mask, position_ids=position_ids, **others
        )
"""
    )
    configure(model, auto_map={"AutoModelForCausalLM": "modeling_own.Own"})
    assert opened(model, trusted=True).info.required == {
        "num_visits", "visit_state", "label_ids", "age_embeds", "segment"
    }  # fmt: skip


# --- decoys: another model would be audited than the one that is hashed ---------------------------


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def by_explicit_name(folder: Path, decoy: bytes) -> None:
    (folder / "other.safetensors").write_bytes(decoy)
    configure(folder, transformers_weights="other.safetensors")


def by_another_configuration(folder: Path, decoy: bytes) -> None:
    by_explicit_name(folder, decoy)
    (folder / "config.json").rename(folder / "config.4.0.0.json")
    text = (folder / "config.4.0.0.json").read_text()
    plain = {key: value for key, value in json.loads(text).items() if key != "transformers_weights"}
    plain |= {"configuration_files": ["config.4.0.0.json"]}
    (folder / "config.json").write_text(json.dumps(plain))


def by_an_alias(folder: Path, decoy: bytes) -> None:
    (folder / "other.safetensors").write_bytes(decoy)
    before = json.loads((folder / "config.json").read_text())
    alias = {"attribute_map": {"transformers_weights": "harmless"}, "harmless": "other.safetensors"}
    (folder / "config.json").write_text(json.dumps(before | alias))


@pytest.mark.parametrize("redirect", [by_explicit_name, by_another_configuration, by_an_alias])
def test_a_decoy_is_what_transformers_loads_and_phigate_refuses(
    saved: Path,
    model: Path,
    redirect: Callable[[Path, bytes], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids = np.arange(9, dtype=np.int32)

    def loss(folder: Path) -> float:
        return float(opened(folder).score([ids])[0].logprob.sum())

    kept, other = loss(model), loss(saved / "other")
    assert abs(kept - other) > 0.1
    redirect(model, weights(saved / "other"))
    # the control: without phigate's refusal the other model's weights are what is loaded
    with recorded(monkeypatch) as files:
        loaded = AutoModelForCausalLM.from_pretrained(
            model, local_files_only=True, use_safetensors=True
        )
    assert str(model / "other.safetensors") in files
    assert str(model / "model.safetensors") not in files
    with safe_open(model / "other.safetensors", framework="pt") as decoy:
        assert (loaded.lm_head.weight == decoy.get_tensor("lm_head.weight")).all()
    refused(model, "another model than the one in this folder could be audited")
    # nor when the decoy alone is left, and the entry goes
    shutil.copy(saved / "llama" / "config.json", model / "config.json")
    refused(model, r"other\.safetensors holds or names other weights")
    (model / "other.safetensors").unlink()
    assert loss(model) == kept


@pytest.mark.parametrize(
    "name",
    [
        "shard-00000-model-00001-of-00001.safetensors",  # loaded first, as of transformers 5.20
        "model.safetensors.index.json",
        "other/model.safetensors",
        "model.fp16.safetensors",
        "weights.gguf",
        "tf_model.h5",
        "flax_model.msgpack",
    ],
)
def test_a_second_set_of_weights_is_refused(saved: Path, model: Path, name: str) -> None:
    (model / name).parent.mkdir(exist_ok=True)
    (model / name).write_bytes(weights(saved / "other"))
    refused(model, f"{name} holds or names other weights than model.safetensors")


def test_shards_beside_those_of_the_index_are_refused(saved: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(saved / "sharded", tmp_path / "sharded"))
    assert described(folder)
    shutil.copy(saved / "other" / "model.safetensors", folder / "model-00009.safetensors")
    refused(folder, r"model-00009\.safetensors holds or names other weights")


# --- entries of config.json and generation_config.json --------------------------------------------


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"transformers_weights": "model.safetensors"}, "transformers_weights names the file"),
        ({"text_config": {"transformers_weights": "x"}}, r"text_config\.transformers_weights"),
        ({"configuration_files": ["config.5.json"]}, "configuration_files names other"),
        ({"attribute_map": {"a": "b"}}, "attribute_map gives entries"),
        ({"gguf_file": "x.gguf"}, "gguf_file names the file"),
        ({"base_model_name_or_path": "elsewhere"}, "base_model_name_or_path names another"),
        ({"_attn_implementation": "someone/kernel"}, "asks for 'someone/kernel'"),
        ({"attn_implementation": "someone/kernel@v1:f"}, "asks for 'someone/kernel@v1:f'"),
        ({"attn_implementation": {"": "sdpa", "text_config": "a/b"}}, "asks for 'a/b'"),
        ({"sub": [{"_attn_implementation": "paged|a/b"}]}, r"sub\[0\]\._attn_implementation"),
        ({"_attn_implementation": "flash_attention_2"}, "write eager or sdpa"),
        ({"_experts_implementation": "someone/kernel"}, "asks for 'someone/kernel'"),
        ({"quantization_config": {"quant_method": "mxfp4"}}, "whose code is fetched"),
        ({"fusion_config": {"patch_embeddings": True}}, "fusion_config changes"),
        ({"auto_map": {"AutoConfig": "a.B"}}, "auto_map asks to run code"),
        ({"text_config": {"auto_map": {"AutoModel": "a.B"}}}, r"text_config\.auto_map asks to"),
    ],
)
@pytest.mark.parametrize("file", ["config.json", "generation_config.json"])
def test_entries_that_lead_elsewhere_are_refused(
    model: Path, entries: dict[str, Any], message: str, file: str
) -> None:
    path = model / file
    before = json.loads(path.read_text())
    path.write_text(json.dumps(before | entries))
    refused(model, message)


@pytest.mark.parametrize(
    "entries",
    [
        {"_attn_implementation": "eager"},
        {"attn_implementation": "sdpa"},
        {"attn_implementation": None, "auto_map": {}, "configuration_files": []},
        {"transformers_weights": None, "_attn_implementation_autoset": True},
    ],
)
def test_entries_that_lead_nowhere_else_are_read(model: Path, entries: dict[str, Any]) -> None:
    configure(model, **entries)
    assert opened(model).info.vocabulary_size == tiny_models.VOCABULARY


def test_the_name_that_a_model_was_once_loaded_from_opens_nothing(
    saved: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(model, _name_or_path=str(saved / "other"), name_or_path=str(saved / "other"))
    with recorded(monkeypatch) as files:
        opened(model)
    assert not [file for file in files if Path(file).is_relative_to(saved)]
    assert str(model / "model.safetensors") in files


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("someone/code--modeling.Own", "names code on the Hugging Face Hub"),
        ("/tmp/modeling.Own", "is no class of a file in this folder"),
        ("absent.Own", "is no class of a file in this folder"),
    ],
)
def test_trusted_code_lies_in_the_folder(model: Path, name: str, message: str) -> None:
    configure(model, auto_map={"AutoModelForCausalLM": name})
    refused(model, message, trusted=True)


# --- other files ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["pytorch_model.bin", "training_args.bin", "optimizer.pt", "x.PKL", "a/scaler.joblib"],
)
def test_pickles_beside_the_weights_are_refused(model: Path, name: str) -> None:
    (model / name).parent.mkdir(exist_ok=True)
    (model / name).write_bytes(b"")
    refused(model, f"{name} is a pickle or may be one")
    refused(model, f"{name} is a pickle or may be one", trusted=True)


@pytest.mark.parametrize("name", ["modeling.py", "custom_generate/generate.py", "fast.so"])
def test_code_is_refused_unless_it_is_trusted(model: Path, name: str) -> None:
    (model / name).parent.mkdir(exist_ok=True)
    (model / name).write_bytes(b"")
    refused(model, f"{name} is code, and trustRemoteCode is off")
    assert name in described(model, trusted=True).files


@pytest.mark.parametrize(
    "name", ["adapter_config.json", "adapter_model.safetensors", "lora/adapter_config.json"]
)
def test_an_adapter_is_refused(model: Path, name: str) -> None:
    (model / name).parent.mkdir(exist_ok=True)
    (model / name).write_text("{}")
    refused(model, "name that as model.adapter")


def test_any_file_is_part_of_the_model_s_identity(model: Path) -> None:
    before = described(model)
    (model / "deep" / "er").mkdir(parents=True)
    (model / "deep" / "er" / "vocab.json").write_text("{}")
    added = described(model)
    assert added.files.keys() - before.files.keys() == {"deep/er/vocab.json"}
    (model / "deep" / "er" / "vocab.json").write_text("{ }")
    digests = {before.sha256, added.sha256, described(model).sha256}
    assert len(digests) == 3
    shutil.rmtree(model / "deep")
    assert described(model) == before


def test_links_inside_the_folder_are_followed_and_others_refused(
    saved: Path, model: Path, tmp_path: Path
) -> None:
    (model / "model.safetensors").rename(model / "blob")
    (model / "model.safetensors").symlink_to("blob")
    (model / "again").symlink_to(model, target_is_directory=True)
    files = described(model).files
    assert files["model.safetensors"] == files["blob"]
    assert opened(model)
    linked = tmp_path / "linked"
    linked.symlink_to(model, target_is_directory=True)
    assert described(linked).files == files
    (model / "model.safetensors").unlink()
    (model / "model.safetensors").symlink_to(saved / "other" / "model.safetensors")
    refused(model, "a link to a file outside of the model's folder")


def nothing(folder: Path) -> None:
    (folder / "notes").symlink_to("absent")


def loop(folder: Path) -> None:
    (folder / "notes").symlink_to("notes")


def folder_elsewhere(folder: Path) -> None:
    (folder / "notes").symlink_to(folder.parent, target_is_directory=True)


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "notes")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (nothing, "leads nowhere"),
        (loop, "leads nowhere"),
        (folder_elsewhere, "outside of the model's folder"),
        (pipe, "neither a file nor a folder"),
    ],
)
def test_what_is_no_file_is_refused(
    model: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(model)
    refused(model, message)


# --- verify --model -------------------------------------------------------------------------------


def test_verify_reports_files_that_were_added_changed_or_are_gone(model: Path) -> None:
    audited = described(model).files
    said = list(check_model(audited, model))
    assert [one.holds for one in said] == [True]
    (model / "extra").mkdir()
    (model / "extra" / "other.safetensors").write_bytes(b"x")
    (model / "generation_config.json").write_text("{}")
    (model / "config.json").unlink()
    texts = [one.text for one in check_model(audited, model) if one.holds is False]
    assert texts == [
        f"{model / 'extra' / 'other.safetensors'}: is not among the files that were audited",
        f"{model / 'config.json'}: is missing, and was audited",
        f"{model / 'generation_config.json'}: is not the file that was audited",
    ]
    (model / "link").symlink_to(model.parent, target_is_directory=True)
    texts = [one.text for one in check_model(audited, model) if one.holds is False]
    assert texts[0].startswith(f"{model / 'link'}: is a link")
