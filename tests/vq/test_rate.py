"""The differentiable rate: the size of the file, and its slope."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from vq.entropy import RansCodec, order0_bits, rans, rate


def sources() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(40_000, generator=generator)
    uniform = torch.rand(40_000, generator=generator) - 0.5
    return {
        "gaussian": 3 * normal,
        "laplacian": -4 * uniform.sign() * torch.log1p(-2 * uniform.abs()),
        "bimodal": torch.where(uniform > 0.1, normal - 20, 4 * normal + 20),
        "wide": 1e4 * normal[:5000],
        "nearly constant": 0.2 * normal,
    }


@pytest.mark.parametrize("name", sources())
def test_the_value_is_the_size_of_the_file(name: str) -> None:
    x = sources()[name]
    coded = 8 * len(rans.encode(x.round().int().numpy()))
    assert rate(x).item() == pytest.approx(coded, rel=0.005)  # 0.0003 observed


def test_the_value_is_the_size_of_real_columns(real_harmonics: NDArray[np.uint8]) -> None:
    for symbols in (real_harmonics, real_harmonics[:, :3] // 4):
        codec = RansCodec()
        coded = 8 * len(codec.encode(symbols.astype(np.int32)))
        assert codec.rate(torch.from_numpy(symbols).float()).item() == pytest.approx(
            coded, rel=0.01
        )


@pytest.mark.parametrize("name", ["gaussian", "laplacian", "bimodal", "wide"])
def test_the_gradient_predicts_the_size_of_shrunk_values(name: str) -> None:
    x = sources()[name].requires_grad_()
    before = rate(x)
    before.backward()
    assert x.grad is not None
    shrink = 0.05
    predicted = -shrink * float((x.grad * x.detach()).sum())
    with torch.no_grad():
        change = float(rate((1 - shrink) * x) - before.detach())
    # First-order: 2 to 20 % observed.
    assert predicted < 0 and change == pytest.approx(predicted, rel=0.3)


def test_the_gradient_matches_the_source_density() -> None:
    # For N(0, s^2), d(-log2 p)/dx = x / (s^2 ln 2).
    x = sources()["gaussian"].requires_grad_()
    rate(x).backward()
    assert x.grad is not None
    central = x.detach().abs() < 6
    expected = x.detach() / (9 * np.log(2))
    assert float((x.grad - expected)[central].square().mean().sqrt()) < 0.05


def test_columns_pay_for_their_own_statistics() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5000, 4, generator=generator) * torch.tensor([0.3, 1, 3, 9])
    symbols = x.round().int().numpy()
    for columns in (False, True):
        coded = 8 * len(rans.encode(symbols, columns=columns))
        assert rate(x, columns=columns).item() == pytest.approx(coded, rel=0.01)
    assert rate(x, columns=True) < 0.9 * rate(x)


def test_small_and_odd_shapes() -> None:
    assert rate(torch.zeros(0, 3)).item() > 0
    assert rate(torch.tensor(3.0)).item() == 8 * len(rans.encode(np.array(3)))
    half = torch.randn(1000, dtype=torch.float16).requires_grad_()
    rate(half).backward()
    assert half.grad is not None and half.grad.dtype == torch.float16
    with pytest.raises(ValueError, match="finite"):
        rate(torch.tensor([float("nan")]))
    with pytest.raises(ValueError, match="columns"):
        rate(torch.zeros(3), columns=True)


def test_order0_bits() -> None:
    assert order0_bits(np.array([0, 1, 2, 3] * 10)) == pytest.approx(80)
    assert order0_bits(np.zeros(100)) == 0
