"""Gated attention over a slide's patches.

Ilse, Tomczak & Welling (2018), "Attention-based Deep Multiple Instance Learning", equations 7 and 9. A bag is a slide's
features, float32 [K, D].
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

HIDDEN = 128  # of V and U; 128 in the paper's experiments
RATE, DECAY = 5e-4, 1e-4  # Adam's rate and weight decay of the paper
EPOCHS_MIN, STEPS_MIN = 20, 5000  # fixed, so that nothing chooses them; the paper's bags see 20,000 steps
BAG_MAX = 1024  # patches of a bag that a step sees, drawn anew each time: a slide has up to 10⁵


class GatedAttention(nn.Module):
    """z = Σ a_k h_k with a = softmax(wᵀ(tanh(V h) ⊙ σ(U h))), and a logit that is linear in z."""

    def __init__(self, mean_D: Tensor, scale_D: Tensor) -> None:
        super().__init__()
        self.mean_D, self.scale_D = nn.Buffer(mean_D), nn.Buffer(scale_D)
        self.value, self.gate = nn.Linear(len(mean_D), HIDDEN), nn.Linear(len(mean_D), HIDDEN)
        self.score, self.classifier = nn.Linear(HIDDEN, 1, bias=False), nn.Linear(len(mean_D), 1)

    def forward(self, bag_KD: Tensor) -> tuple[Tensor, Tensor]:
        """Return the slide's logit [] and the attention on its patches [K], which sums to 1."""
        standard_KD = (bag_KD - self.mean_D) / self.scale_D
        gated_KH = torch.tanh(self.value(standard_KD)) * torch.sigmoid(self.gate(standard_KD))
        attention_K = torch.softmax(self.score(gated_KH).squeeze(1), 0)
        return self.classifier(attention_K @ standard_KD).squeeze(0), attention_K


def fit_attention(bags: Sequence[Tensor], labels: Sequence[int], seed: int) -> GatedAttention:
    """Train on slides, one a step; the same for the same seed on one device.

    Args:
        bags: Features of each slide, float32 [K, D], all on one device.
        labels: 0 or 1 for each.
        seed: Decides weights, order and which patches of large slides a step sees.

    Returns:
        The network in evaluation mode, on the bags' device.
    """
    everything_ND = torch.cat([bag[:: max(1, len(bag) // BAG_MAX)] for bag in bags])
    scale_D = everything_ND.std(0).clamp_min(1e-6)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = GatedAttention(everything_ND.mean(0).cpu(), scale_D.cpu()).to(bags[0].device)
    optimizer = torch.optim.Adam(network.parameters(), RATE, weight_decay=DECAY)
    targets = torch.tensor(labels, dtype=torch.float32, device=bags[0].device)
    for _ in range(max(EPOCHS_MIN, -(-STEPS_MIN // len(bags)))):
        for slide in torch.randperm(len(bags), generator=generator).tolist():
            bag_KD = bags[slide]
            if len(bag_KD) > BAG_MAX:
                bag_KD = bag_KD[torch.randperm(len(bag_KD), generator=generator)[:BAG_MAX].to(bag_KD.device)]
            loss = nn.functional.binary_cross_entropy_with_logits(network(bag_KD)[0], targets[slide])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return network.eval()
