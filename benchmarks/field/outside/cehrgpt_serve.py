"""Serve a CEHR-GPT to phigate, from its own environment."""

# mypy: ignore-errors
import phigate_adapter
import torch
from cehrgpt.models.hf_cehrgpt import CEHRGPT2LMHeadModel


class Served(phigate_adapter.NextToken):
    """Logits of the next token under ages."""

    channels = ("ages",)

    def __init__(self, folder):
        self.model = CEHRGPT2LMHeadModel.from_pretrained(folder).eval()
        config = self.model.config
        self.vocabulary_size, self.context_length = config.vocab_size, config.n_positions
        self.libraries = {"torch": torch.__version__}

    @torch.inference_mode()
    def logits(self, tokens, channels):
        """Return [n, L, V] of [n, L]."""
        ids = torch.from_numpy(tokens).long()
        return (
            self.model(
                input_ids=ids,
                ages=torch.from_numpy(channels["ages"]),
                attention_mask=torch.ones_like(ids),
                random_vectors=torch.zeros(len(ids), 1, self.model.config.n_embd),
                use_cache=False,
            )
            .logits.float()
            .numpy()
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = "../../MODEL"
    phigate_adapter.serve(Served(folder), files=folder)
