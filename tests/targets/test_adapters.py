"""LoRA adapters as peft saves them: put into their base, or refused for the true reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM

from checker.errors import DocumentError, TargetError
from checker.policy import load_target
from checker.policy.documents import ModelSpec
from checker.targets.backends.checkpoint import HuggingFaceBackend
from checker.verification.model_files import check_model

CONFIG: dict[str, Any] = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "base_model_name_or_path": "somebody/else",
    "r": 3,
    "lora_alpha": 6,
    "lora_dropout": 0.1,
    "bias": "none",
    "init_lora_weights": True,
    "inference_mode": True,
    "target_modules": ["c_attn"],
    "fan_in_fan_out": True,
    "use_rslora": False,
    "use_dora": False,
    "rank_pattern": {},
    "alpha_pattern": {},
    "qalora_group_size": 16,
    "megatron_core": "megatron.core",
    "peft_version": "0.21.2",
}
WIDTH = 32
GPT2 = [f"transformer.h.{layer}.attn.c_attn" for layer in range(2)]
RECORD = np.array([1, 5, 9, 4, 4, 17, 3, 8], dtype=np.int32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    tiny_models.save_gpt2(root / "gpt2")
    tiny_models.save_llama(root / "llama")
    return root


def pairs(
    modules: dict[str, tuple[int, int]], *, rank: int = 3, seed: int = 0
) -> dict[str, torch.Tensor]:
    """Random matrices by module, each with its inputs and outputs."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, (inputs, outputs) in modules.items():
        for part, shape in (("A", (rank, inputs)), ("B", (outputs, rank))):
            key = f"base_model.model.{name}.lora_{part}.weight"
            found[key] = 0.3 * torch.randn(shape, generator=generator)
    return found


ATTENTION = pairs(dict.fromkeys(GPT2, (WIDTH, 3 * WIDTH)))


def decoyed(spelling: str) -> dict[str, torch.Tensor]:
    """An adapter with zeros beside its weights, of a kind that is read after them."""
    decoys = {
        f"base_model.model.{name}{spelling.format(part)}": torch.zeros(shape, dtype=torch.float16)
        for name in GPT2
        for part, shape in (("A", (3, WIDTH)), ("B", (3 * WIDTH, 3)))
    }
    return {**ATTENTION, **decoys}


def write(directory: Path, tensors: dict[str, torch.Tensor] | None = None, **config: Any) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    text = {name: own for name, own in {**CONFIG, **config}.items() if own != "gone"}
    (directory / "adapter_config.json").write_text(json.dumps(text))
    save_file(ATTENTION if tensors is None else tensors, directory / "adapter_model.safetensors")
    return directory


def scored(folder: Path, base: str, adapter: Path | None) -> Any:
    spec = ModelSpec(
        path=str(folder / base), device="cpu", adapter=None if adapter is None else str(adapter)
    )
    model = HuggingFaceBackend().open(spec, Path(), pad_id=None, eos_id=None)
    return model.score([RECORD])[0].logprob


class Added(nn.Module):
    """A layer with its adapter beside it, as peft runs it unmerged."""

    def __init__(self, layer: Any, a: torch.Tensor, b: torch.Tensor, scaling: float) -> None:
        super().__init__()
        self.layer, self.a, self.b, self.scaling = layer, a, b, scaling

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.layer(states) + self.scaling * (states @ self.a.T @ self.b.T)
        return found


def beside(folder: Path, base: str, tensors: dict[str, torch.Tensor], scaling: float) -> Any:
    """Log-probabilities of the base with adapters beside its layers, by the library alone."""
    model = AutoModelForCausalLM.from_pretrained(folder / base).eval()
    for key in [key for key in tensors if key.endswith("lora_A.weight")]:
        name = key.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
        b = tensors[key.replace("lora_A", "lora_B")]
        model.set_submodule(name, Added(model.get_submodule(name), tensors[key], b, scaling))
    ids = torch.from_numpy(RECORD.astype(np.int64))[None]
    with torch.inference_mode():
        logs = model(ids).logits[0].log_softmax(-1)
    return logs[:-1].gather(1, ids[0, 1:, None])[:, 0].numpy()


@pytest.mark.parametrize(
    ("config", "scaling"),
    [
        ({}, 2.0),
        ({"use_rslora": True}, 6 / 3**0.5),
        ({"alpha_pattern": {"attn.c_attn": 3}}, 1.0),
        ({"target_modules": r".*\.c_attn", "lora_alpha": 1.5}, 0.5),
    ],
)
def test_an_adapter_counts_as_beside_the_layers(
    folder: Path, tmp_path: Path, config: dict[str, Any], scaling: float
) -> None:
    found = scored(folder, "gpt2", write(tmp_path / "adapter", **config))
    assert found == pytest.approx(beside(folder, "gpt2", ATTENTION, scaling), abs=1e-4)
    assert np.abs(found - scored(folder, "gpt2", None)).max() > 0.1


@pytest.mark.parametrize(
    "config",
    [
        {"layers_to_transform": 1},
        {"layers_to_transform": [1], "layers_pattern": ["h"]},
        {"exclude_modules": r".*h\.0\..*"},
        {"exclude_modules": [GPT2[0]]},
    ],
)
def test_an_adapter_of_some_layers_leaves_the_others(
    folder: Path, tmp_path: Path, config: dict[str, Any]
) -> None:
    tensors = dict(list(ATTENTION.items())[2:])  # of the second layer
    found = scored(folder, "gpt2", write(tmp_path / "adapter", tensors, **config))
    assert found == pytest.approx(beside(folder, "gpt2", tensors, 2.0), abs=1e-4)


def test_of_all_linear_layers_that_of_the_logits_is_none(folder: Path, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder / "llama")
    modules = {
        name: (module.in_features, module.out_features)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name != "lm_head"
    }
    tensors = pairs(modules)
    found = scored(folder, "llama", write(tmp_path / "a", tensors, target_modules="all-linear"))
    assert found == pytest.approx(beside(folder, "llama", tensors, 2.0), abs=1e-3)


def test_of_linear_layers_too_and_whole_modules_are_replaced(folder: Path, tmp_path: Path) -> None:
    modules = {f"model.layers.{i}.mlp.up_proj": (WIDTH, 48) for i in range(2)}
    tensors = pairs(modules)
    written = write(tmp_path / "a", tensors, target_modules=["up_proj"])
    expected = beside(folder, "llama", tensors, 2.0)
    assert scored(folder, "llama", written) == pytest.approx(expected, abs=1e-4)
    head = load_file(folder / "llama" / "model.safetensors")["lm_head.weight"].flip(0).contiguous()
    tensors["base_model.model.lm_head.weight"] = head
    both = write(tmp_path / "b", tensors, target_modules=["up_proj"], modules_to_save=["lm_head"])
    found = scored(folder, "llama", both)
    assert np.abs(found - expected).max() > 0.1


def test_an_adapter_of_embeddings_knows_its_base(folder: Path, tmp_path: Path) -> None:
    saved = load_file(folder / "llama" / "model.safetensors")["model.embed_tokens.weight"]
    generator = torch.Generator().manual_seed(0)
    begin = "base_model.model.model.embed_tokens"
    tensors = {
        f"{begin}.lora_embedding_A": torch.randn(3, len(saved), generator=generator),
        f"{begin}.lora_embedding_B": torch.randn(WIDTH, 3, generator=generator),
        f"{begin}.base_layer.weight": saved,
    }
    adapter = write(tmp_path / "adapter", tensors, target_modules=["embed_tokens"])
    model = AutoModelForCausalLM.from_pretrained(folder / "llama").eval()
    a, b = list(tensors.values())[:2]
    ids = torch.from_numpy(RECORD.astype(np.int64))[None]
    with torch.inference_mode():
        embedded = nn.functional.embedding(ids, saved + 2.0 * (b @ a).T)
        logs = model(inputs_embeds=embedded).logits[0].log_softmax(-1)
    expected = logs[:-1].gather(1, ids[0, 1:, None])[:, 0].numpy()
    assert scored(folder, "llama", adapter) == pytest.approx(expected, abs=1e-4)
    tensors[f"{begin}.base_layer.weight"] = saved + 0.1
    write(adapter, tensors, target_modules=["embed_tokens"])
    with pytest.raises(TargetError, match=r"was saved with other weights of model\.embed_tokens"):
        scored(folder, "llama", adapter)


def test_both_are_hashed_and_the_base_alone_is_another_model(folder: Path, tmp_path: Path) -> None:
    adapter = write(tmp_path / "adapter")
    (adapter / "README.md").write_text("what it is")
    backend = HuggingFaceBackend()
    base = ModelSpec(path=str(folder / "gpt2"))
    adapted = base.model_copy(update={"adapter": str(adapter)})
    alone, both = backend.describe(base, Path()), backend.describe(adapted, Path())
    assert set(both.files) - set(alone.files) == {
        "adapter/adapter_config.json", "adapter/adapter_model.safetensors", "adapter/README.md"
    }  # fmt: skip
    assert both.sha256 != alone.sha256
    write(adapter, lora_alpha=7)
    assert backend.describe(adapted, Path()).sha256 != both.sha256


def test_each_folder_is_verified_by_itself(folder: Path, tmp_path: Path) -> None:
    adapter = write(tmp_path / "adapter")
    spec = ModelSpec(path=str(folder / "gpt2"), adapter=str(adapter))
    files = HuggingFaceBackend().describe(spec, Path()).files

    def said(path: Path) -> list[tuple[bool | None, str]]:
        return [(one.holds, one.text.replace(str(path), "")) for one in check_model(files, path)]

    base = said(folder / "gpt2")
    assert [holds for holds, _ in base] == [None, True]
    assert "its adapter, 2 files, was not looked at" in base[0][1]
    assert [holds for holds, _ in said(adapter)] == [None, True]
    write(adapter, lora_alpha=1)
    assert (False, "/adapter_config.json: is not the file that was audited") in said(adapter)


def _lacking(adapter: Path) -> None:
    (adapter / "adapter_config.json").unlink()


def _cut(adapter: Path) -> None:
    path = adapter / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-9])


def _second(adapter: Path) -> None:
    save_file(ATTENTION, adapter / "model.safetensors")


def _pickle(adapter: Path) -> None:
    (adapter / "training_args.bin").write_bytes(b"x")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_lacking, "holds no adapter_config.json"),
        (_cut, "is cut short or no safetensors"),
        (_second, "holds or names other weights than adapter_model.safetensors"),
        (_pickle, "is a pickle or may be one"),
        (lambda a: (a / "adapter_model.safetensors").unlink(), "is not there"),
        (lambda a: (a / "run.py").write_text(""), "is code"),
        (lambda a: (a / "adapter_config.json").write_text("{"), "adapter_config.json"),
        (lambda a: write(a, {"x": torch.zeros(1)}), "'x' is no weight of a LoRA adapter"),
        (lambda a: write(a, peft_type="IA3"), "peft_type is 'IA3'.* merge_and_unload"),
        (lambda a: write(a, use_dora=True), "does not apply 'use_dora'"),
        (lambda a: write(a, something_new={"a": 1}), "does not apply 'something_new'"),
        (lambda a: write(a, bias="all"), "no trained biases"),
        (lambda a: write(a, init_lora_weights="pissa"), "'pissa', which may change the base"),
        (lambda a: write(a, init_lora_weights="eva"), "'eva', which may change the base"),
        (lambda a: write(a, use_rslora=1), "use_rslora is 1, and not true or false"),
        (lambda a: write(a, use_rslora="true"), "use_rslora is 'true', and not true or false"),
        (lambda a: write(a, fan_in_fan_out="no"), "fan_in_fan_out is 'no', and not true or"),
        (lambda a: write(a, modules_to_save="wpe"), "modules_to_save is 'wpe', and no list"),
        (lambda a: write(a, target_modules=None), "names no target_modules"),
        (lambda a: write(a, target_modules="("), r"target_modules: '\(' is no pattern"),
        (lambda a: write(a, layers_to_transform="0"), "layers_to_transform is '0', and no list"),
        (lambda a: write(a, modules_to_save=["wpe"]), r"lacks what .*transformer\.wpe\.weight"),
        (
            lambda a: write(
                a,
                {**ATTENTION, "base_model.model.transformer.h.0.ln_1.weight": torch.ones(WIDTH)},
                modules_to_save=["h.0.ln_1"],
            ),
            r"lacks what .*transformer\.h\.0\.ln_1\.bias",
        ),
        (
            lambda a: write(a, target_modules="all-linear"),
            r"lacks what .*transformer\.h\.0\.attn\.c_proj",
        ),
        (
            lambda a: write(a, dict(list(ATTENTION.items())[:2]), layers_to_transform=[0, 1]),
            r"lacks what .*transformer\.h\.1\.attn\.c_attn",
        ),
        (
            lambda a: write(a, exclude_modules=["attn.c_attn"], target_modules=["c_attn", "c_fc"]),
            r"lacks what .*transformer\.h\.0\.mlp\.c_fc",
        ),
        (lambda a: write(a, lora_alpha="6"), "lora_alpha is '6', and no number"),
        (lambda a: write(a, r=1), "has rank 3, and its configuration says 1"),
        (
            lambda a: write(a, rank_pattern={"c_attn": 2}),
            "has rank 3, and its configuration says 2",
        ),
        (lambda a: write(a, decoyed(".lora_{}")), "no weight that its configuration names"),
        (lambda a: write(a, decoyed(".lora_embedding_{}")), "is spelled as no weight of"),
        (lambda a: write(a, lora_alpha=0), "lora_alpha is 0, and no number"),
        (lambda a: write(a, alpha_pattern={"(": 3}), r"'\(' is no pattern"),
        (
            lambda a: write(a, target_modules=["c_attn", "c_fc"]),
            r"lacks what .*transformer\.h\.0\.mlp\.c_fc",
        ),
        (
            lambda a: write(a, dict(list(ATTENTION.items())[:2])),
            "lacks what its configuration says of transformer.h.1.attn.c_attn",
        ),
        (lambda a: write(a, dict(list(ATTENTION.items())[:3])), "one matrix of two"),
        (
            lambda a: write(a, pairs(dict.fromkeys(GPT2, (WIDTH, 7)))),
            "no layer of the base, or one of another shape",
        ),
        (
            lambda a: write(a, {n: t * torch.nan for n, t in ATTENTION.items()}),
            "holds what is no number",
        ),
        (
            lambda a: write(
                a, {**ATTENTION, "base_model.model.transformer.wpe.weight": torch.zeros(2, 2)}
            ),
            "is no weight that its configuration names",
        ),
        (
            lambda a: write(
                a,
                {**ATTENTION, **pairs({"lm_head": (WIDTH, tiny_models.VOCABULARY)})},
                target_modules=["c_attn", "lm_head"],
            ),
            "whose weights the base uses in two places",
        ),
    ],
)
def test_what_cannot_be_applied_is_refused(
    folder: Path, tmp_path: Path, spoil: Callable[[Path], Any], said: str
) -> None:
    adapter = write(tmp_path / "adapter")
    spoil(adapter)
    with pytest.raises(TargetError, match=said):
        scored(folder, "gpt2", adapter)


def test_another_backend_reads_no_adapter(tmp_path: Path) -> None:
    path = tmp_path / "target.yaml"
    path.write_text(
        """\
apiVersion: phigate/v1
kind: AuditTarget
metadata: {name: t, version: "1"}
spec:
  model: {path: model, backend: simulated, adapter: adapter}
  data: {path: data}
  tokenization: {vocabulary: vocab.json}
"""
    )
    with pytest.raises(DocumentError, match="only backend: huggingface reads an adapter"):
        load_target(path)
