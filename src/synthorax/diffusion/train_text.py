"""Teach the text encoder the vocabulary before the U-Net listens to it.

From noise, a text encoder and a U-Net that learn together take very long to tell one finding from another. RadEdit's
text encoder was trained on reports beforehand; this small one learns to name the findings, sides and domain that a
caption says (a linear layer on the mean of its outputs, binary cross-entropy), and stays as it is from then on.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from synthorax.diffusion.captions import REAL, VIRTUAL, Caption, choose
from synthorax.progress import track
from synthorax.seeds import derive_seed, generator

STEPS, BATCH, LR = 800, 64, 1e-3


def train_text(encoder: Any, words: Any, said: Mapping[str, Sequence[Caption]], seed: int) -> float:
    """Train ``encoder`` in place and freeze it.

    Args:
        encoder: a CLIP text model.
        words: its tokenizer.
        said: from :func:`synthorax.diffusion.captions.captions`.
        seed: of batches and of the linear layer.

    Returns:
        the share of captions of the last 50 batches whose findings were named exactly.
    """
    torch.manual_seed(derive_seed("text", seed))
    films = sorted(said)
    names = sorted(
        {finding for choices in said.values() for _, found in choices for finding in found} | {REAL, VIRTUAL}
    )
    place = {name: i for i, name in enumerate(names)}
    encoder.requires_grad_(True)
    device = encoder.device
    head = nn.Linear(encoder.config.hidden_size, len(names)).to(device)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=LR, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=STEPS)
    exact = []
    for step in track(range(STEPS), "Teaching the text encoder", unit="steps"):
        rng = generator("text", seed, step)
        batch = [
            choose(said[films[i]], VIRTUAL if rng.random() < 0.5 else REAL, rng)
            for i in rng.integers(len(films), size=BATCH)
        ]
        target = torch.zeros(BATCH, len(names))
        for row, (_, findings) in enumerate(batch):
            target[row, [place[name] for name in findings]] = 1
        target = target.to(device)
        tokens = words(
            [text for text, _ in batch],
            padding="longest",
            truncation=True,
            max_length=words.model_max_length,
            return_tensors="pt",
        ).to(device)
        mask = tokens.attention_mask[:, :, None].float()
        output = encoder(tokens.input_ids)[0]
        logits = head((output * mask).sum(1) / mask.sum(1))
        nn.functional.binary_cross_entropy_with_logits(logits, target).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        exact.append(((logits > 0) == (target > 0)).all(1).float().mean().item())
    encoder.requires_grad_(False)
    return sum(exact[-50:]) / len(exact[-50:])
