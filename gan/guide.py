"""What the generator asks for where a teacher labels: plausible rows on which the victim and the teacher differ most.

A teacher may be of any kind, trees say, and has no gradient: a small network learns to answer like it (a substitute
model: Papernot et al., 2017), and the generator maximises the disagreement with that, which is adversarial belief
matching (Micaelli & Storkey, 2019). What comes out is labelled by the teacher itself.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan.victim import Condition, Victim

HIDDEN = 128
STEPS, BATCH, RATE, DECAY = 600, 256, 2e-3, 1e-3
AIM = (-6.0, 0.0)  # margins of a disagreement, for the generator's band: as great as can be


def learnt(x: Tensor, label: Tensor, seed: int) -> nn.Module:
    """A network from vectors x float32[n, D] to the logit of a teacher's labels float32[n], frozen."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body = nn.Sequential(
            nn.LayerNorm(x.shape[1]), nn.Linear(x.shape[1], HIDDEN), nn.ReLU(),
            nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1), nn.Flatten(0),
        ).to(x.device)  # fmt: skip
    random = torch.Generator(x.device).manual_seed(seed)
    optimiser = torch.optim.AdamW(body.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    for _ in range(STEPS):
        rows = torch.randint(len(x), (BATCH,), generator=random, device=x.device)
        loss = F.binary_cross_entropy_with_logits(body(x[rows]), label[rows])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
    return body.requires_grad_(False).eval()


class Disputed:
    """A victim whose loss is how far it is from what a teacher's stand-in says: KL(teacher ‖ victim), in nats.

    stand_in: vectors float32[B, D] → the teacher's logit float32[B], differentiable. Both are relative to the victim's
    prior, as its own loss is.
    """

    def __init__(self, victim: Victim, stand_in: nn.Module) -> None:
        self._victim, self._stand_in = victim, stand_in
        self.dim, self.prior = victim.dim, victim.prior

    def loss(self, embedding: Tensor, condition: Condition) -> Tensor:
        logit = self._stand_in(embedding) - self.prior
        belief = torch.sigmoid(logit)
        entropy = F.binary_cross_entropy_with_logits(logit, belief, reduction="none")
        asked = Condition(belief, condition.segment, condition.context)
        return (self._victim.loss(embedding, asked) - entropy).clamp_min(0)
