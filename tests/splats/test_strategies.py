"""Densification: relocation keeps the picture, moments follow rows, caps hold, resume is exact."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch

from splats import Gaussians
from splats.training.kernels import native_kernels
from splats.training.optimizer import SelectiveAdam
from splats.training.parameters import Parameters
from splats.training.strategies import (
    DefaultConfig,
    DefaultStrategy,
    McmcConfig,
    McmcStrategy,
    StepInfo,
)
from splats.training.strategies.noise import add_position_noise, position_noise_reference
from splats.training.strategies.relocation import relocated


def make_gaussians(num: int, *, seed: int = 0) -> Gaussians:
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return Gaussians(
        means=randn(num, 3),
        quats=randn(num, 4),
        log_scales=0.5 * randn(num, 3) - 3,
        logit_opacities=randn(num),
        sh0=randn(num, 1, 3),
        shN=randn(num, 3, 3),
    )


def start(gaussians: Gaussians) -> tuple[Parameters, SelectiveAdam]:
    """Parameters and an optimizer whose first moments carry each row's number as a tag."""
    params = Parameters(gaussians)
    optimizer = SelectiveAdam([{"params": [param]} for _, param in params.items()], lr=0.0)
    for _, param in params.items():
        param.grad = torch.zeros_like(param)
    optimizer.step()
    for _, param in params.items():
        tags = torch.arange(1.0, len(params) + 1)
        optimizer.state[param]["exp_avg"] += tags.reshape(-1, *[1] * (param.dim() - 1))
    return params, optimizer


def tags(params: Parameters, optimizer: SelectiveAdam) -> list[float]:
    """The tag of every row, the same for every parameter."""
    columns = [
        optimizer.state[param]["exp_avg"].flatten(1)[:, 0]
        if param.dim() > 1
        else optimizer.state[param]["exp_avg"]
        for _, param in params.items()
    ]
    assert all(torch.equal(column, columns[0]) for column in columns)
    return columns[0].tolist()


def make_info(gradient: torch.Tensor) -> StepInfo:
    """A step of one camera, 2 pixels wide and high, so that gradients keep their length."""
    num = len(gradient)
    return StepInfo(
        radii=torch.ones(1, num, 2, dtype=torch.int32),
        width=2,
        height=2,
        means_learning_rate=1e-4,
        screen_gradient=torch.stack([gradient, torch.zeros(num)], dim=1)[None],
    )


def make_default(num: int, **settings: Any) -> DefaultStrategy:
    strategy = DefaultStrategy(DefaultConfig(**settings), extent=1.0, seed=7)
    strategy.initialize_state(num)
    return strategy


def refine(
    strategy: Any, params: Parameters, optimizer: SelectiveAdam, gradient: Any = None
) -> Any:
    if gradient is None:
        gradient = torch.zeros(len(params))
    return strategy.step_post_backward(
        params, optimizer, step=100, progress=0.05, info=make_info(gradient)
    )


@pytest.mark.parametrize("count", [1, 2, 5, 20, 51])
@pytest.mark.parametrize("opacity", [0.01, 0.5, 0.95, 0.9999])
def test_coincident_copies_look_like_the_original(count: int, opacity: float) -> None:
    old = torch.tensor([opacity], dtype=torch.float64)
    scales = torch.tensor([[0.5, 1.0, 2.0]], dtype=torch.float64)
    new, new_scales = relocated(old, scales, torch.tensor([count]))
    assert torch.allclose(1 - (1 - new) ** count, old, rtol=1e-12)
    x = torch.linspace(-60, 60, 400_001, dtype=torch.float64)
    for axis in range(3):
        one = old * torch.exp(-0.5 * (x / scales[0, axis]) ** 2)
        many = 1 - (1 - new * torch.exp(-0.5 * (x / new_scales[0, axis]) ** 2)) ** count
        torch.testing.assert_close(
            torch.trapezoid(many, x), torch.trapezoid(one, x), rtol=1e-6, atol=0
        )


def test_mcmc_relocates_the_dead_and_respects_the_cap() -> None:
    gaussians = make_gaussians(100)
    gaussians.logit_opacities[:30] = -8.0
    gaussians.logit_opacities[3] = float("nan")
    params, optimizer = start(gaussians)
    strategy = McmcStrategy(McmcConfig(max_gaussians=104, noise=0.0), seed=1)
    result = refine(strategy, params, optimizer)
    assert (result.num_relocated, result.num_added, len(params)) == (30, 4, 104)
    opacities = torch.sigmoid(params["logit_opacities"])
    assert (opacities > 0.005).all() and torch.isfinite(params["log_scales"]).all()
    # Every dead Gaussian now sits on one that lived, and has no momentum of its former life.
    alive = {tuple(row) for row in gaussians.means[30:].tolist()}
    assert all(tuple(row) in alive for row in params["means"].tolist())
    assert tags(params, optimizer)[:30] == [0.0] * 30 and tags(params, optimizer)[100:] == [0.0] * 4
    refine(strategy, params, optimizer)
    assert len(params) == 104


def test_mcmc_growth_adapts_to_a_short_budget() -> None:
    params, optimizer = start(make_gaussians(50))
    strategy = McmcStrategy(McmcConfig(max_gaussians=5000, refine_every=10, noise=0.0))
    for step in range(1, 100):
        strategy.step_post_backward(
            params,
            optimizer,
            step=step,
            progress=step / 200,
            info=make_info(torch.zeros(len(params))),
        )
    assert len(params) == 5000


def test_mcmc_regularization_is_the_gradient_of_the_means() -> None:
    params, _ = start(make_gaussians(40))
    McmcStrategy(McmcConfig(opacity_weight=0.3, scale_weight=0.7)).add_regularization(params)
    logits, log_scales = params["logit_opacities"], params["log_scales"]
    loss = 0.3 * torch.sigmoid(logits).mean() + 0.7 * log_scales.exp().mean()
    expected = torch.autograd.grad(loss, (logits, log_scales))
    torch.testing.assert_close(logits.grad, expected[0])
    torch.testing.assert_close(log_scales.grad, expected[1])


def test_native_noise_equals_reference() -> None:
    if native_kernels() is None:
        pytest.skip("native kernels are not built")
    gaussians = make_gaussians(3000)
    gaussians.logit_opacities.sub_(4)
    params = Parameters(gaussians)
    normals = torch.randn(3000, 3, generator=torch.Generator().manual_seed(3))
    add_position_noise(params, normals, scale=30.0)
    expected = position_noise_reference(
        gaussians.quats.double(),
        gaussians.log_scales.double(),
        gaussians.logit_opacities.double(),
        normals.double(),
        scale=30.0,
    )
    moved = params["means"].double() - gaussians.means.double()
    assert expected.abs().max() > 0.01
    torch.testing.assert_close(moved, expected, rtol=1e-4, atol=1e-6)


def test_default_clones_splits_and_moves_moments() -> None:
    gaussians = make_gaussians(10)
    gaussians.logit_opacities.fill_(1.0)
    gaussians.log_scales.fill_(-6.0)  # exp(-6) is below, exp(-3) above 0.01 x extent
    gaussians.log_scales[5:] = -3.0
    params, optimizer = start(gaussians)
    gradient = torch.zeros(10)
    gradient[[1, 2, 7]] = 1.0
    result = refine(make_default(10), params, optimizer, gradient)
    assert (result.num_added, result.num_removed, len(params)) == (3, 0, 13)
    assert torch.equal(params["means"][10:12], gaussians.means[[1, 2]])
    children = params["log_scales"][[7, 12]]
    torch.testing.assert_close(children, torch.full((2, 3), -3.0) - torch.log(torch.tensor(1.6)))
    assert not torch.equal(params["means"][7], gaussians.means[7])
    assert tags(params, optimizer) == [1, 2, 3, 4, 5, 6, 7, 0, 9, 10, 0, 0, 0]


def test_default_grows_the_best_up_to_the_cap_and_prunes() -> None:
    gaussians = make_gaussians(20)
    gaussians.logit_opacities.fill_(1.0)
    gaussians.log_scales.fill_(-6.0)
    params, optimizer = start(gaussians)
    strategy = make_default(20, max_gaussians=22)
    refine(strategy, params, optimizer, torch.arange(20.0))
    assert torch.equal(params["means"][20:], gaussians.means[[18, 19]])
    with torch.no_grad():
        params["logit_opacities"][4] = -9.0
        params["means"][5, 0] = float("nan")
    result = refine(strategy, params, optimizer)
    assert result.num_removed == 2 and tags(params, optimizer)[:6] == [1, 2, 3, 4, 7, 8]
    assert all(torch.isfinite(param).all() for _, param in params.items())


def test_default_resets_opacities() -> None:
    params, optimizer = start(make_gaussians(8))
    strategy = make_default(8, reset_min_steps=10)
    info = make_info(torch.zeros(8))
    strategy.step_post_backward(params, optimizer, step=11, progress=0.11, info=info)
    assert torch.sigmoid(params["logit_opacities"]).max() <= 0.01 + 1e-6
    assert (optimizer.state[params["logit_opacities"]]["exp_avg"] == 0).all()
    assert (optimizer.state[params["means"]]["exp_avg"] != 0).all()


def test_default_needs_the_screen_gradient() -> None:
    params, optimizer = start(make_gaussians(3))
    strategy = make_default(3)
    info = replace(make_info(torch.zeros(3)), screen_gradient=None)
    with pytest.raises(ValueError, match="retain_grad"):
        strategy.step_post_backward(params, optimizer, step=1, progress=0.1, info=info)


@pytest.mark.parametrize("kind", ["default", "mcmc"])
def test_restored_strategy_continues_bit_for_bit(kind: str) -> None:
    def create() -> Any:
        if kind == "mcmc":
            return McmcStrategy(McmcConfig(refine_every=5, max_gaussians=80), seed=7)
        return make_default(40, refine_every=5, max_gaussians=80)

    def advance(strategy: Any, params: Parameters, optimizer: SelectiveAdam, steps: range) -> None:
        for step in steps:
            generator = torch.Generator().manual_seed(step)
            gradient = torch.rand(len(params), generator=generator)
            strategy.step_post_backward(
                params, optimizer, step=step, progress=0.02 + step / 1000, info=make_info(gradient)
            )

    strategy = create()
    params, optimizer = start(make_gaussians(40))
    advance(strategy, params, optimizer, range(1, 13))
    resumed_params, resumed_optimizer = start(params.gaussians())
    resumed = create()
    resumed.load_state_dict(copy.deepcopy(strategy.state_dict()))
    advance(strategy, params, optimizer, range(13, 24))
    advance(resumed, resumed_params, resumed_optimizer, range(13, 24))
    assert len(params) > 40
    for (name, a), (_, b) in zip(params.items(), resumed_params.items(), strict=True):
        assert torch.equal(a, b), name
