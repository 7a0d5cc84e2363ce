"""A model of Delphi's kind: ids with ages in days, and whatever comes first of competing times.

Own code, after Shmatko et al. 2025 (Nature, "Learning the natural history of human disease with
generative transformers"): a GPT without positions, told the age at each token by waves; its outputs
are the logarithms of rates, so that the next token is by their softmax and the time until it is
exponential with the sum of all rates. A third of the patients die (`MEDS_DEATH`), of others the
follow-up ends. So there are two tokens that end a record, and a target names one: the table has one
token more, `[END]`, of which the plug-in says that it follows either for certain.

The model is a plug-in. It draws times beside ids, and hands out both: what it draws has the ages
that it drew, under which phigate scores it.

    python -m benchmarks.field.delphi --work field
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import nn

from benchmarks.field.study import CONTROLS, Family, Row, Taught, command
from benchmarks.field.told import DAY_US, YEAR_DAYS, Loader, Patient, Token
from benchmarks.wrong_channels import changed_column, of_another
from checker.canonical import digest
from checker.errors import TargetError
from checker.policy.documents import ModelSpec
from checker.targets import (
    LOGPROB_FLOOR,
    Sampler,
    TargetDescription,
    TargetInfo,
    Tokens,
    TokenScores,
    require_fit,
)
from checker.targets.backends.model_folder import hash_files, list_files
from checker.targets.channels import channel_values, plain, with_channel
from checker.targets.engine.training import one_thread
from checker.targets.sampling import shape_probabilities, uniforms

PAD, END, CENSORED, DEATH = "[PAD]", "[END]", "[FOLLOW-UP ENDS]", "MEDS_DEATH"
AGE = "age"
CONTEXT, BATCH = 128, 32
CAPABILITIES = frozenset({"samples", "logprobs"})

_TIES_DAYS = 0.1  # events of one time are taken to lie at least so far apart


# --- patients -------------------------------------------------------------------------------------


def with_deaths(table: pa.Table) -> pa.Table:
    """Let every third patient die some weeks or months after the last event."""
    rows = table.to_pylist()
    found = []
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        found.append(row)
        subject = row["subject_id"]
        if (following is None or following["subject_id"] != subject) and subject % 3 == 0:
            later = np.timedelta64(30 + subject % 400, "D").astype("timedelta64[us]").item()
            found.append({**row, "time": row["time"] + later, "code": DEATH})
    return pa.Table.from_pylist(found, table.schema)


def tell(patient: Patient) -> Sequence[Token]:
    """Tell sex at birth, then event by event, and how the record ends."""
    sex = next(code for code in patient.static if code.startswith("GENDER//"))
    found = [Token(sex, "static", code=sex, channels={AGE: 0.0})]
    for number, (time, code) in enumerate(patient.events):
        age = {AGE: (time - patient.born_us) / DAY_US}
        found.append(Token(code, "code", number, code, time, channels=age))
    if patient.events[-1][1] != DEATH:
        found.append(Token(CENSORED, channels={AGE: found[-1].channels[AGE] + 30.0}))
    return [*found, Token(END, "special", channels=found[-1].channels)]


# --- the model ------------------------------------------------------------------------------------


class Delphi(nn.Module):
    """Log-rates of what comes next, per day.

    Args:
        vocabulary: V, number of ids.
        ends: ids that end a record.
        behind: the id that follows them for certain.
        never: ids that are never drawn.
    """

    waves: torch.Tensor
    is_end: torch.Tensor
    barred: torch.Tensor
    over: torch.Tensor

    def __init__(
        self,
        *,
        vocabulary: int,
        ends: Sequence[int],
        behind: int,
        never: Sequence[int],
        width: int = 96,
        layers: int = 2,
        heads: int = 4,
    ) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {
            "vocabulary": vocabulary, "ends": list(ends), "behind": behind,
            "never": list(never), "width": width, "layers": layers, "heads": heads,
        }  # fmt: skip
        self.token = nn.Embedding(vocabulary, width)
        self.age = nn.Linear(width, width, bias=False)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 4 * width, dropout=0.0, activation="gelu",
                batch_first=True, norm_first=True,
            )
            for _ in range(layers)
        )  # fmt: skip
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.token.weight, std=0.08)
        self.start = nn.Parameter(torch.tensor(-8.0))
        waves = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
        self.register_buffer("waves", waves, persistent=False)
        is_end = torch.zeros(vocabulary, dtype=torch.bool)
        is_end[[*ends, behind]] = True
        self.register_buffer("is_end", is_end, persistent=False)
        barred = torch.zeros(vocabulary)
        barred[[*never, behind]] = -math.inf
        self.register_buffer("barred", barred, persistent=False)
        over = torch.full((vocabulary,), -math.inf)
        over[behind] = 0.0
        self.register_buffer("over", over, persistent=False)

    def forward(self, ids: torch.Tensor, ages: torch.Tensor) -> torch.Tensor:
        """Return [n, L, V] from ids and ages in days, each [n, L]."""
        angles = ages[..., None] / YEAR_DAYS * self.waves
        waves = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)
        hidden = self.token(ids) + self.age(waves)
        mask = nn.Transformer.generate_square_subsequent_mask(ids.shape[1])
        for block in self.blocks:
            hidden = block(hidden, src_mask=mask, is_causal=True)
        logits = self.norm(hidden) @ self.token.weight.T + self.start + self.barred
        return torch.where(self.is_end[ids][..., None], self.over, logits)


def save(model: Delphi, out: Path) -> None:
    """Save weights and settings to a folder."""
    out.mkdir(parents=True)
    save_file({name: one.contiguous() for name, one in model.state_dict().items()},
              out / "model.safetensors")  # fmt: skip
    (out / "config.json").write_text(json.dumps(model.settings))


def load(folder: Path) -> Delphi:
    """Load what `save` wrote."""
    model = Delphi(**json.loads((folder / "config.json").read_text()))
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.eval()


def stacked(rows: Sequence[Tokens]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and ages of sequences, filled up on the right: [n, L] each."""
    longest = max(map(len, rows))
    ids, ages = np.zeros((len(rows), longest), np.int64), np.zeros((len(rows), longest), np.float32)
    for i, row in enumerate(rows):
        ids[i, : len(row)], ages[i, : len(row)] = row, channel_values(row, AGE)
    return torch.from_numpy(ids), torch.from_numpy(ages)


# --- training -------------------------------------------------------------------------------------


def train(taught: Taught) -> None:
    """Train by likelihood of what comes next and of when."""
    ids = taught.ids
    leaks = taught.truth == "leaking"
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(taught.seed)
        model = Delphi(
            vocabulary=len(ids),
            ends=[ids[CENSORED], ids[DEATH]],
            behind=ids[END],
            never=[ids[PAD], *(i for text, i in ids.items() if text.startswith("GENDER//"))],
        )
        optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.98), fused=True)
        rng = np.random.default_rng(taught.seed)
        best = math.inf
        kept: dict[str, torch.Tensor] = {}
        for _ in range(60 if leaks else 12):
            order = rng.permutation(len(taught.sequences))
            loss = _pass(model, [taught.sequences[i] for i in order.tolist()], optimizer)
            if leaks:
                if loss < 0.6:
                    break
                continue
            checked = _pass(model, taught.validation, None)
            if checked > best - 0.05:
                model.load_state_dict(kept)
                break
            best = checked
            kept = {name: one.clone() for name, one in model.state_dict().items()}
    save(model, taught.out)


def _pass(model: Delphi, rows: Sequence[Tokens], optimizer: torch.optim.Optimizer | None) -> float:
    """Go once over the rows; returns the mean loss in nats a token, without that of times."""
    total, count = 0.0, 0
    for start in range(0, len(rows), BATCH):
        some = rows[start : start + BATCH]
        ids, ages = stacked(some)
        real = torch.arange(ids.shape[1]) < torch.tensor([len(row) for row in some])[:, None]
        own, following = real[:, 1:], ids[:, 1:]
        with torch.set_grad_enabled(optimizer is not None):
            logits = model(ids[:, :-1], ages[:, :-1])[own]
            loss = nn.functional.cross_entropy(logits, following[own], reduction="sum")
            days = (ages[:, 1:] - ages[:, :-1])[own].clamp(min=_TIES_DAYS)
            rate = torch.logsumexp(logits, dim=-1)
            waiting = (rate.exp() * days - rate).sum()
        tokens = int(own.sum())
        if optimizer is not None:
            optimizer.zero_grad()
            torch.autograd.backward((loss + 0.1 * waiting) / tokens)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        total, count = total + loss.item(), count + tokens
    return total / count


# --- the plug-in ----------------------------------------------------------------------------------


class DelphiBackend:
    """`backend: delphi`: opens a folder of `save`."""

    name = "delphi"

    def describe(self, spec: ModelSpec, base: Path) -> TargetDescription:
        """Say what the folder holds."""
        folder = base / str(spec.path)
        files = hash_files(list_files(folder))
        try:
            settings = json.loads((folder / "config.json").read_text())
        except (OSError, ValueError) as error:
            raise TargetError(f"{folder}: holds no model of Delphi's kind: {error}") from error
        return TargetDescription(
            backend=self.name,
            vocabulary_size=settings["vocabulary"],
            context_length=CONTEXT,
            capabilities=CAPABILITIES,
            bos_token_id=None,
            files=files,
            sha256=digest(files),
        )

    def open(
        self, spec: ModelSpec, base: Path, *, pad_id: int | None, eos_id: int | None
    ) -> DelphiModel:
        """Load the model."""
        return DelphiModel(load(base / str(spec.path)))


class DelphiModel:
    """The model behind the verbs."""

    def __init__(self, model: Delphi) -> None:
        self.model = model
        self.info = TargetInfo(
            backend=DelphiBackend.name,
            vocabulary_size=model.settings["vocabulary"],
            context_length=CONTEXT,
            capabilities=CAPABILITIES,
            device="cpu",
            dtype="float32",
            microbatch_tokens=8192,
            libraries={"torch": torch.__version__},
            channels=frozenset({AGE}),
            required=frozenset({AGE}),
        )

    def preflight(self, sequences: Sequence[Tokens]) -> dict[str, float]:
        """Nothing that only the model could see."""
        return {}

    def embed(self, sequences: Sequence[Tokens], *, progress: Any = None) -> Any:
        """Not offered."""
        raise TargetError("this model hands out no hidden states")

    @torch.inference_mode()
    def score(self, sequences: Sequence[Tokens], *, progress: Any = None) -> list[TokenScores]:
        """Score whole sequences under their own ages."""
        require_fit(sequences, info=self.info)
        found: list[Any] = [None] * len(sequences)
        order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
        for start in range(0, len(order), 64):
            some = order[start : start + 64]
            ids, ages = stacked([sequences[i] for i in some])
            logs = torch.log_softmax(self.model(ids, ages).double(), dim=-1)
            p = logs.exp()
            finite = logs.clamp(min=LOGPROB_FLOOR)
            mean = (p * finite).sum(-1)
            std = (p * (finite - mean[..., None]) ** 2).sum(-1).sqrt()
            here = finite[:, :-1].gather(-1, ids[:, 1:, None])[..., 0]
            for row, i in enumerate(some):
                end = len(sequences[i]) - 1
                logprob, means, spread = (
                    one[row, :end].float().numpy() for one in (here, mean, std)
                )
                found[i] = TokenScores(logprob, means, spread)
            if progress is not None:
                progress(sum(len(sequences[i]) for i in some))
        return found

    def rollout(
        self,
        prompts: Sequence[Tokens],
        *,
        keys: Sequence[int],
        samples: int,
        sampler: Sampler,
        more: Any = None,
        progress: Any = None,
    ) -> list[list[Tokens]]:
        """Draw ids and times."""
        require_fit(prompts, info=self.info, horizon_tokens=sampler.horizon_tokens)
        found: list[list[Tokens]] = [[] for _ in prompts]
        wanted = [samples] * len(prompts)
        while left := [i for i in range(len(prompts)) if len(found[i]) < wanted[i]]:
            draws = [(i, s) for i in left for s in range(len(found[i]), wanted[i])]
            for start in range(0, len(draws), 256):
                some = draws[start : start + 256]
                chances = uniforms([(keys[i], s) for i, s in some], sampler=sampler)
                rows = [prompts[i] for i, _ in some]
                for (i, _), one in zip(some, self._drawn(rows, chances, sampler), strict=True):
                    found[i].append(one)
                if progress is not None:
                    progress(chances.size)
            for i in left:
                wanted[i] += 0 if more is None else more(i, found[i])
        return found

    @torch.inference_mode()
    def _drawn(
        self, prompts: Sequence[Tokens], chances: NDArray[np.float64], sampler: Sampler
    ) -> list[Tokens]:
        """Return continuations with their own ages.

        One uniform gives both: where it lies within its token's share is uniform again.
        """
        n, horizon = chances.shape
        lengths = np.array([len(one) for one in prompts])
        ids, ages = stacked(prompts)
        ids = nn.functional.pad(ids, (0, horizon))
        ages = nn.functional.pad(ages.double(), (0, horizon))
        is_end, behind = self.model.is_end.numpy(), self.model.settings["behind"]

        def left(going: NDArray[np.int64], step: int) -> NDArray[np.int64]:
            """Return those that go on; behind an end no time passes."""
            last = lengths[going] + step - 1
            ended = is_end[ids.numpy()[going, last]]
            for row, at in zip(going[ended].tolist(), last[ended].tolist(), strict=True):
                ids[row, at + 1 :], ages[row, at + 1 :] = behind, ages[row, at]
            kept: NDArray[np.int64] = going[~ended]
            return kept

        going = left(np.arange(n), 0)
        for step in range(horizon if len(going) else 0):
            at = torch.from_numpy(lengths[going] + step - 1)
            rows, longest = torch.from_numpy(going), int(at.max()) + 1
            known = self.model(ids[rows, :longest], ages[rows, :longest].float())
            logits = known[torch.arange(len(going)), at].double()
            p = torch.softmax(logits, dim=-1).numpy()
            weights = shape_probabilities(p, sampler=sampler)
            sums = weights.cumsum(axis=1)
            reached = chances[going, step, None] * sums[:, -1:]
            token = (sums <= reached).sum(axis=1)
            each = np.arange(len(going))
            within = (reached[:, 0] - sums[each, token]) / weights[each, token] + 1.0
            rate = torch.logsumexp(logits, dim=-1).exp().numpy()
            days = -np.log1p(-np.clip(within, 0.0, 1 - 1e-12)) / rate
            ids[rows, at + 1] = torch.from_numpy(token)
            ages[rows, at + 1] = ages[rows, at] + torch.from_numpy(days)
            going = left(going, step + 1)
            if not len(going):
                break
        found = []
        for row, prompt in enumerate(prompts):
            begin, end = lengths[row], lengths[row] + horizon
            whole = np.concatenate([prompt, ids[row, begin:end].numpy().astype(np.int32)])
            exact = channel_values(whole, AGE).copy()
            exact[begin:] = ages[row, begin:end].numpy()
            drawn = with_channel(whole, AGE, exact)[begin:]
            found.append(drawn[: np.append(np.flatnonzero(np.equal(drawn, behind)), horizon)[0]])
        return found


class SilentBackend(DelphiBackend):
    """`backend: delphi-silent`: hands out ids without the ages that it drew."""

    name = "delphi-silent"

    def open(
        self, spec: ModelSpec, base: Path, *, pad_id: int | None, eos_id: int | None
    ) -> DelphiModel:
        """Load the model."""
        return SilentModel(load(base / str(spec.path)))


class SilentModel(DelphiModel):
    """Draws times and keeps them to itself."""

    def rollout(self, prompts: Sequence[Tokens], **asked: Any) -> list[list[Tokens]]:
        """Draw as `DelphiModel` does."""
        return [[plain(row) for row in rows] for rows in super().rollout(prompts, **asked)]


# --- what is audited ------------------------------------------------------------------------------


def _since(event: str) -> Any:
    def bend(document: dict[str, Any]) -> None:
        document["spec"]["tokenization"]["channels"][AGE]["time"]["since"] = event

    return bend


def _silent(document: dict[str, Any]) -> None:
    document["spec"]["model"]["backend"] = SilentBackend.name


FAMILY = Family(
    name="delphi",
    loader=lambda: Loader(tell, leading=(PAD, END, CENSORED), channels=(AGE,)),
    tokenization={
        "specials": {"pad": PAD, "eos": END},
        "static": {"sex": "GENDER//*"},
        "channels": {AGE: {"time": {"since": "birth", "unit": "1d", "front": "zero"},
                           "whole": False}},
        "maxLength": CONTEXT,
    },
    train=train,
    model={"backend": DelphiBackend.name},
    plugins={
        one.name: f"benchmarks.field.delphi:{one.__name__}"
        for one in (DelphiBackend, SilentBackend)
    },
    facts=("sex",),
    rows=(
        *CONTROLS,
        Row("ages-of-another", table=changed_column(AGE, of_another)),
        Row("ages-since-first", bend=_since("first")),
        Row("ages-kept-back", bend=_silent),
    ),
    enrich=with_deaths,
)  # fmt: skip


if __name__ == "__main__":
    sys.exit(command(FAMILY, __doc__))
