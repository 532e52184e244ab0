"""What every quantizer promises, whatever its method."""

from __future__ import annotations

import copy
import importlib
import io
import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from vq import Quantizer
from vq.quantizers import (
    AttributeGroup,
    BalancedQuantizer,
    BinarySphericalQuantizer,
    EntropyConstrainedQuantizer,
    FactorizedQuantizer,
    FiniteScalarQuantizer,
    GroupedQuantizer,
    GumbelQuantizer,
    LookupFreeQuantizer,
    LowRankQuantizer,
    ProductQuantizer,
    ResidualQuantizer,
    SimVQ,
    VectorQuantizer,
    attribute_factored,
    code_lengths,
)

DIM = 6


def residual(**options: float) -> ResidualQuantizer:
    """Three stages of sixteen codes."""
    stages = [VectorQuantizer(DIM, 16, iterations=4, seed=stage) for stage in range(3)]
    return ResidualQuantizer(stages, **options)  # pyright: ignore[reportArgumentType]


def grouped_residual() -> GroupedQuantizer:
    """Two groups of two stages."""
    return GroupedQuantizer(
        [
            ResidualQuantizer(
                [VectorQuantizer(size, 16, iterations=4, seed=seed) for seed in range(2)]
            )
            for size in (2, 4)
        ]
    )


MAKERS: dict[str, Callable[[], Quantizer]] = {
    "ema": lambda: VectorQuantizer(DIM, 32, iterations=5),
    "ema, rotation trick": lambda: VectorQuantizer(DIM, 32, rotation_trick=True, iterations=5),
    "residual": residual,
    "residual, dropout": lambda: residual(dropout=0.5),
    "residual, beam": lambda: residual(beam=4),
    "grouped residual": grouped_residual,
    "product": lambda: ProductQuantizer(DIM, 2, 16, iterations=4),
    "optimized product": lambda: ProductQuantizer(DIM, 2, 16, rotate=True, rounds=2, iterations=4),
    "SimVQ": lambda: SimVQ(DIM, 64, iterations=5),
    "factorized": lambda: FactorizedQuantizer(DIM, 32, code_dim=3, iterations=5),
    "attribute-factored": lambda: attribute_factored(
        [AttributeGroup(2, 1, 16, 4), AttributeGroup(4, 2, 16, 3)]
    ),
    "Gumbel": lambda: GumbelQuantizer(DIM, 16, num_groups=2, iterations=4),
    "balanced": lambda: BalancedQuantizer(DIM, 16, iterations=3),
    "low-rank": lambda: LowRankQuantizer(DIM, VectorQuantizer(3, 32, iterations=5)),
    "FSQ": lambda: FiniteScalarQuantizer((8, 5, 4, 3, 7, 6)),
    "LFQ": lambda: LookupFreeQuantizer(DIM),
    "BSQ": lambda: BinarySphericalQuantizer(DIM),
    "entropy-constrained": lambda: EntropyConstrainedQuantizer(
        DIM, 64, rate_weight=0.05, iterations=8
    ),
}
STRAIGHT = {"ema", "residual", "residual, beam", "grouped residual", "product", "optimized product"}
STRAIGHT |= {"SimVQ", "balanced", "LFQ", "entropy-constrained"}
PREFIXES = {"residual", "residual, dropout", "grouped residual", "attribute-factored"}


@pytest.fixture(params=MAKERS)
def name(request: pytest.FixtureRequest) -> str:
    """Each quantizer in turn."""
    return request.param


def correlated(count: int = 600, *, seed: int = 0) -> Tensor:
    """Correlated vectors [count, DIM] away from the origin."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(99))
    return torch.randn(count, DIM, generator=generator) @ mixing + 1


def error(quantizer: Quantizer, x: Tensor) -> float:
    """Mean squared error of a round trip through the indices."""
    return float((quantizer.decode(quantizer.encode(x)) - x).detach().square().mean())


@pytest.mark.parametrize("batch", [(), (0,), (1,), (5,), (2, 0), (2, 3, 4)])
@pytest.mark.parametrize("training", [True, False])
def test_any_leading_dimensions(name: str, batch: tuple[int, ...], training: bool) -> None:
    """Shapes follow the batch, and an empty batch costs nothing and changes nothing."""
    quantizer = MAKERS[name]().train(training)
    before = copy.deepcopy(quantizer.counts)
    count = int(torch.Size(batch).numel())
    made = quantizer(correlated(count).reshape(*batch, DIM))
    assert made.values.shape == (*batch, DIM)
    assert made.indices.shape == (*batch, len(quantizer.num_codes))
    assert made.indices.dtype == torch.int64
    assert made.loss.isfinite() and made.bits.isfinite()
    if count == 0:
        assert made.loss == 0 and made.bits == 0
        assert torch.equal(quantizer.counts, before)


def test_indices_values_and_decode_agree(name: str) -> None:
    """decode(encode(x)) is forward(x).values to the bit, before and after a fit."""
    quantizer = MAKERS[name]().eval()
    x = correlated()
    for _ in range(2):
        made = quantizer(x)
        assert torch.equal(made.indices, quantizer.encode(x))
        assert torch.equal(made.values, quantizer.decode(made.indices))
        quantizer.fit(x)


def test_evaluation_changes_nothing(name: str) -> None:
    """Only training mode moves codes and statistics."""
    quantizer = MAKERS[name]().fit(correlated()).eval()
    before = copy.deepcopy(quantizer.state_dict())
    quantizer(correlated(seed=1))
    after = quantizer.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_loses_no_code(name: str, dtype: torch.dtype) -> None:
    """Under autocast and for half inputs the indices are those of the float32 computation."""
    quantizer = MAKERS[name]().fit(correlated()).eval()
    half = correlated(seed=1).to(dtype)
    expected = quantizer(half.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made = quantizer(half)
        assert torch.equal(quantizer.encode(half), expected.indices)
        assert torch.equal(quantizer.decode(expected.indices), expected.values.detach())
    assert torch.equal(made.indices, expected.indices)
    assert made.values.dtype == dtype
    assert torch.equal(made.values, expected.values.to(dtype))


def test_training_in_half_precision_is_training_in_single(name: str) -> None:
    """Codes and statistics take the same steps, to the bit."""
    plain, half = MAKERS[name](), MAKERS[name]()
    x = correlated().bfloat16()
    for _ in range(3):
        plain(x.float())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half(x)
    plain_state, half_state = plain.state_dict(), half.state_dict()
    assert all(torch.equal(plain_state[key], half_state[key]) for key in plain_state)


def test_a_model_cast_to_half_keeps_its_codes(name: str) -> None:
    """`half()` and `to(bfloat16)` leave codes, statistics and therefore indices as they were."""
    quantizer = MAKERS[name]().fit(correlated()).eval()
    x = correlated(seed=1).bfloat16()
    expected = quantizer(x)
    for cast in (torch.nn.Sequential(quantizer).half(), quantizer.to(torch.bfloat16)):
        assert all(
            t.dtype not in (torch.float16, torch.bfloat16) for t in cast.state_dict().values()
        )
    made = quantizer(x)
    assert torch.equal(made.indices, expected.indices)
    assert torch.equal(made.values, expected.values)


def test_gradients_reach_the_input_and_are_finite(name: str) -> None:
    """The straight-through gradient is the identity; others are at least finite and not zero."""
    quantizer = MAKERS[name]()
    x = correlated(64).requires_grad_()
    upstream = torch.randn(64, DIM, generator=torch.Generator().manual_seed(3))
    made = quantizer(x)
    (gradient,) = torch.autograd.grad((made.values * upstream).sum(), x, retain_graph=True)
    assert gradient.isfinite().all() and gradient.any()
    if name in STRAIGHT:
        torch.testing.assert_close(gradient, upstream, rtol=1e-5, atol=1e-5)
    (made.values.sum() + made.loss + made.bits).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in quantizer.parameters())


def test_fit_improves_and_holds_on_other_data(name: str) -> None:
    """Fitting beats the start and beats the mean, also on vectors it has not seen."""
    quantizer, unseen = MAKERS[name]().eval(), correlated(seed=1)
    start = error(quantizer, unseen)
    assert quantizer.fit(correlated(2000)) is quantizer
    assert error(quantizer, unseen) < min(0.9 * start, 0.6 * float(unseen.var(0).mean()))


def test_fit_and_training_repeat_bit_for_bit(name: str) -> None:
    """Two modules with one seed stay the same, whatever torch's global generator did."""
    first, second = MAKERS[name](), MAKERS[name]()
    x = correlated()
    for seed, quantizer in enumerate((first, second)):
        torch.manual_seed(seed)
        quantizer(x)
        quantizer.fit(x)
        quantizer(x)
    state = second.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in first.state_dict().items())


def test_state_round_trip_continues_identically(name: str) -> None:
    """A state read with weights_only goes into a fresh module, and training goes on the same."""
    quantizer = MAKERS[name]()
    for seed in range(3):
        quantizer(correlated(seed=seed))
    file = io.BytesIO()
    torch.save(quantizer.state_dict(), file)
    file.seek(0)
    restored = MAKERS[name]()
    restored.load_state_dict(torch.load(file, weights_only=True))
    for seed in range(3, 6):
        x = correlated(seed=seed)
        made, again = quantizer(x), restored(x)
        assert torch.equal(made.values, again.values) and torch.equal(made.bits, again.bits)
        assert torch.equal(made.loss, again.loss)


def test_usage_perplexity_and_bits_are_those_of_the_indices(name: str) -> None:
    """After a fit the statistics are the frequencies of the fitted data's indices."""
    quantizer, x = MAKERS[name]().eval(), correlated(1000)
    made = quantizer.fit(x)(x)
    bits = 0.0
    for stage, (column, size) in enumerate(zip(made.indices.T, quantizer.num_codes, strict=True)):
        frequency = torch.bincount(column, minlength=size).float()
        share = frequency / frequency.sum()
        entropy = float(torch.special.entr(share).sum())
        assert quantizer.usage[stage] == (frequency > 0).float().mean()
        assert quantizer.perplexity[stage].item() == pytest.approx(math.exp(entropy))
        bits += float(code_lengths(frequency)[column].sum())
    assert made.bits.item() == pytest.approx(bits, rel=0.02)
    assert bits <= len(x) * sum(torch.tensor(quantizer.num_codes).log2()) + 1


def test_bits_of_an_untouched_quantizer_are_those_of_a_fixed_length(name: str) -> None:
    """Without statistics every code of K costs log2 K bits."""
    quantizer = MAKERS[name]().eval()
    full = float(torch.tensor(quantizer.num_codes).double().log2().sum())
    assert quantizer(correlated(50)).bits.item() == pytest.approx(50 * full, rel=1e-5)


def test_codes_revive_or_stay_finite_on_constant_data(name: str) -> None:
    """A batch that is one vector over and over breaks nothing, in training or in fit."""
    quantizer = MAKERS[name]()
    x = torch.full((40, DIM), 0.7)
    for _ in range(4):
        quantizer(x)
    made = quantizer(x)
    assert made.values.isfinite().all() and made.loss.isfinite()
    quantizer.fit(x).eval()
    assert quantizer(x).values.isfinite().all()
    if name != "Gumbel":
        few = MAKERS[name]().fit(correlated(3)).eval()
        assert few(correlated(3)).values.isfinite().all()


def test_memory_is_bounded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a tiny limit on distances at a time the indices stay the same."""
    quantizer = MAKERS[name]().fit(correlated()).eval()
    x = correlated(seed=1)
    whole = quantizer.encode(x)
    for module in ("vq.nearest", "vq.quantizers.residual"):
        monkeypatch.setattr(importlib.import_module(module), "CHUNK_VALUES", 256)
    assert (quantizer.encode(x) != whole).float().mean() < 0.005


@pytest.mark.cuda
def test_a_gpu_agrees(name: str) -> None:
    """Fitted on the CPU, moved to CUDA: nearly all indices agree, and training there works."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    quantizer = MAKERS[name]().fit(correlated()).eval()
    x = correlated(seed=1)
    expected = quantizer.encode(x)
    quantizer.cuda()
    made = quantizer(x.cuda())
    assert (made.indices.cpu() == expected).float().mean() > 0.98
    assert torch.equal(quantizer.decode(made.indices), made.values)
    quantizer.train()(x.cuda())
    quantizer.fit(x.cuda())
    assert quantizer(x[:0].cuda()).indices.is_cuda


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(name: str, value: float) -> None:
    """A diverged encoder is named before it spoils the codes."""
    quantizer, x = MAKERS[name](), correlated(4)
    x[2, 1] = value
    for call in (quantizer, quantizer.encode, quantizer.fit):
        with pytest.raises(ValueError, match=r"`x` must be finite, but 1 of its 24 values"):
            call(x)


def test_wrong_arguments_are_named(name: str) -> None:
    """Shapes, ranges and weights are checked where they enter."""
    quantizer, x = MAKERS[name](), correlated(4)
    with pytest.raises(ValueError, match=r"`x` must be \[\.\.\., 6\], got \[4, 5\]"):
        quantizer.encode(x[:, :5])
    with pytest.raises(ValueError, match=r"`x` must be \[n >= 1, 6\]"):
        quantizer.fit(x[:0])
    with pytest.raises(ValueError, match=r"`weights` must be \[4\]"):
        quantizer.fit(x, weights=torch.zeros(4))
    indices = quantizer.encode(x)
    with pytest.raises(ValueError, match="`indices` must be"):
        quantizer.decode(torch.cat([indices, indices], dim=1))
    for wrong in (-1, max(quantizer.num_codes)):
        with pytest.raises(ValueError, match="`indices` must lie"):
            quantizer.decode(torch.full_like(indices, wrong))


@pytest.mark.parametrize("name", [name for name in MAKERS if name != "balanced"])
def test_weights_move_the_codes_towards_what_matters(name: str) -> None:
    """Vectors of weight 0 do not count: a fit to half the data by weight is a fit to that half.

    Balanced assignment is left out: it shares all vectors evenly, weighted or not.
    """
    x = torch.cat([correlated(), 50 + correlated()])
    weights = torch.cat([torch.ones(600), torch.zeros(600)])
    quantizer = MAKERS[name]().eval().fit(x, weights=weights)
    alone = MAKERS[name]().eval().fit(x[:600])
    assert error(quantizer, x[:600]) < 1.1 * error(alone, x[:600])


@pytest.mark.parametrize("name", sorted(PREFIXES))
def test_leading_columns_decode_ever_better(name: str) -> None:
    """Each further column lowers the error, also on data the fit has not seen."""
    quantizer, x = MAKERS[name]().eval(), correlated(seed=1)
    indices = quantizer.fit(correlated(2000)).encode(x)
    errors = [
        (quantizer.decode(indices[:, :columns]) - x).square().mean().item()
        for columns in range(indices.shape[1] + 1)
    ]
    assert all(later < earlier for earlier, later in itertools.pairwise(errors))
    assert errors[0] == pytest.approx(float(x.square().mean()))
