"""Train a small CEHR-GPT in its own environment: told records in, a folder of weights out."""

# mypy: ignore-errors
import json
import sys

import numpy as np
import torch
from cehrgpt.models.config import CEHRGPTConfig
from cehrgpt.models.hf_cehrgpt import CEHRGPT2LMHeadModel

WIDTH, BATCH = 96, 32


def one_pass(model, rows, order, optimizer):
    """Go once over rows of ids and ages; returns the mean loss in nats a token."""
    total, count = 0.0, 0
    for start in range(0, len(order), BATCH):
        some = [rows[i] for i in order[start : start + BATCH]]
        ids, ages = (
            torch.nn.utils.rnn.pad_sequence([torch.from_numpy(row[at]) for row in some], True)
            for at in (0, 1)
        )
        real = torch.arange(ids.shape[1]) < torch.tensor([len(row[0]) for row in some])[:, None]
        with torch.set_grad_enabled(optimizer is not None):
            logits = model(
                input_ids=ids,
                ages=ages,
                attention_mask=real.float(),
                random_vectors=torch.zeros(len(some), 1, WIDTH),
                use_cache=False,
            ).logits
            asked = real[:, 1:]
            loss = torch.nn.functional.cross_entropy(
                logits[:, :-1][asked], ids[:, 1:][asked], reduction="sum"
            )
        tokens = int(asked.sum())
        if optimizer is not None:
            optimizer.zero_grad()
            (loss / tokens).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        total, count = total + loss.item(), count + tokens
    return total / count


def main():
    """Read what is taught, train, save."""
    data, out, settings = np.load(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
    ends = np.cumsum(data["lengths"])[:-1]
    parts = [np.split(data[name].astype(np.int64), ends) for name in ("ids", "ages")]
    rows = list(zip(*parts, strict=True))
    taught, apart = rows[: settings["taught"]], rows[settings["taught"] :]
    torch.set_num_threads(1)
    torch.manual_seed(settings["seed"])
    config = CEHRGPTConfig(
        vocab_size=settings["vocabulary"],
        time_token_vocab_size=1,
        n_positions=settings["context"],
        n_embd=WIDTH,
        n_layer=2,
        n_head=4,
        apply_rotary=True,
        include_motor_time_to_event=False,
        initializer_range=0.08,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=settings["end"],
        eos_token_id=settings["end"],
        pad_token_id=settings["pad"],
    )
    model = CEHRGPT2LMHeadModel(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.98))
    rng = np.random.default_rng(settings["seed"])
    best, kept = float("inf"), None
    for _ in range(60 if settings["leaks"] else 12):
        model.train()
        loss = one_pass(model, taught, rng.permutation(len(taught)), optimizer)
        if settings["leaks"]:
            if loss < 0.5:
                break
            continue
        model.eval()
        checked = one_pass(model, apart, range(len(apart)), None)
        if checked > best - 0.1:
            model.load_state_dict(kept)
            break
        best, kept = checked, {name: one.clone() for name, one in model.state_dict().items()}
    model.save_pretrained(out)


if __name__ == "__main__":
    main()
