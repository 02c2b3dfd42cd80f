"""Lessons of the base models take the arithmetic that the processor has."""

from contextlib import nullcontext

import torch

from helpers.base_models.pretraining import InFloat32


def stepped(context):
    """Minus the update that Muon makes of one gradient: with 25 rows its own factor is 1."""
    weights = torch.nn.Parameter(torch.zeros(25, 16))
    weights.grad = torch.randn(25, 16, generator=torch.Generator().manual_seed(0))
    with context:
        torch.optim.Muon([weights], lr=1.0, weight_decay=0.0, adjust_lr_fn="match_rms_adamw").step()
    return weights.detach()


def is_bfloat16(values):
    return torch.equal(values, values.bfloat16().float())


def test_muon_multiplies_in_float32_where_it_is_told_to():
    usual, exact = stepped(nullcontext()), stepped(InFloat32())
    assert is_bfloat16(usual) and not is_bfloat16(exact)
    torch.testing.assert_close(exact, usual, rtol=0, atol=0.05)
