"""What the generator asks for where a teacher labels: plausible rows on which the victim and the teacher differ most.

A teacher may be of any kind, trees say, and has no gradient: a small network learns to answer like it (a substitute
model: Papernot et al., 2017), and the generator maximises the disagreement with that, which is adversarial belief
matching (Micaelli & Storkey, 2019). What comes out is labelled by the teacher itself.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gan.losses import belief, cross_entropy
from gan.victim import Condition, Victim

HIDDEN = 128
STEPS, BATCH, RATE, DECAY = 600, 256, 2e-3, 1e-3
AIM = (-6.0, 0.0)  # margins of a disagreement, for the generator's band: as great as can be


class StandIn(nn.Module):
    """Vectors float32[B, D], of numbers with this mean and spread, to logits: float32[B], or [B, classes] of many."""

    mean: Tensor
    spread: Tensor

    def __init__(self, mean: Tensor, spread: Tensor, classes: int = 1) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("spread", spread.clamp_min(1e-6))
        self.body = nn.Sequential(
            nn.Linear(len(mean), HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        logit = self.body((x - self.mean) / self.spread)
        return logit[:, 0] if logit.shape[1] == 1 else logit


def learnt(x: Tensor, label: Tensor, seed: int) -> StandIn:
    """What answers vectors x float32[n, D] like a teacher, whose labels are float32[n], or [n, K]; frozen."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = StandIn(x.mean(dim=0), x.std(dim=0), label[0].numel()).to(x.device)
    random = torch.Generator(x.device).manual_seed(seed)
    optimiser = torch.optim.AdamW(net.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    for _ in range(STEPS):
        rows = torch.randint(len(x), (BATCH,), generator=random, device=x.device)
        loss = cross_entropy(net(x[rows]), label[rows]).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
    return net.requires_grad_(False).eval()


class Disputed:
    """A victim whose loss is how far it is from what a teacher's stand-in says: KL(teacher ‖ victim), in nats.

    stand_in: vectors float32[B, D] → the teacher's logit float32[B], or [B, K], differentiable. Both are relative to
    the victim's prior, as its own loss is.
    """

    def __init__(self, victim: Victim, stand_in: Callable[[Tensor], Tensor]) -> None:
        self._victim, self._stand_in = victim, stand_in
        self.dim, self.prior = victim.dim, victim.prior

    def loss(self, embedding: Tensor, condition: Condition) -> Tensor:
        logit = self._stand_in(embedding) - self.prior
        wanted = belief(logit)
        entropy = cross_entropy(logit, wanted)
        asked = Condition(wanted, condition.segment, condition.context)
        return (self._victim.loss(embedding, asked) - entropy).clamp_min(0)
