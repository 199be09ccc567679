from __future__ import annotations

import pytest
import torch

from fastpath.model import attention_pool
from fastpath.model.attention_pool import GatedAttention, fit_attention


def bags(num: int, seed: int) -> tuple[list[torch.Tensor], list[int]]:
    """Slides of 40 patches, of which two show what makes every other slide positive."""
    generator = torch.Generator().manual_seed(seed)
    made = [torch.randn(40, 6, generator=generator) for _ in range(num)]
    for bag in made[::2]:
        bag[:2, 0] += 6
    return made, [1, 0] * (num // 2)


def test_attention_is_as_the_paper_has_it() -> None:
    torch.manual_seed(0)
    network, bag_KD = GatedAttention(torch.full((4,), 0.5), torch.full((4,), 2.0)), torch.randn(7, 4)
    logit, attention_K = network(bag_KD)
    h = (bag_KD - 0.5) / 2
    value, gate = (
        torch.stack([layer.weight @ row + layer.bias for row in h]) for layer in (network.value, network.gate)
    )
    scores = (torch.tanh(value) / (1 + torch.exp(-gate))) @ network.score.weight[0]
    torch.testing.assert_close(attention_K, torch.exp(scores) / torch.exp(scores).sum())
    pooled = (attention_K[:, None] * h).sum(0)
    torch.testing.assert_close(logit, network.classifier.weight[0] @ pooled + network.classifier.bias[0])


def test_attention_finds_the_patches_that_make_a_slide_positive() -> None:
    network = fit_attention(*bags(30, seed=0), seed=1)
    fresh, labels = bags(20, seed=5)
    with torch.inference_mode():
        logits, attention = zip(*(network(bag) for bag in fresh), strict=True)
    assert min(logits[::2]) > max(logits[1::2]), labels
    assert all(float(weights[:2].sum()) > 0.5 for weights in attention[::2])


def test_the_same_seed_gives_the_same_network_and_leaves_the_global_generator_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attention_pool, "EPOCHS_MIN", 5)
    monkeypatch.setattr(attention_pool, "STEPS_MIN", 20)
    before = torch.random.get_rng_state()
    first, second, other = (fit_attention(*bags(4, seed=0), seed=seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["score.weight"], other["score.weight"])
