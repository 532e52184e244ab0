"""SelectiveAdam against torch.optim.Adam, row selection, and determinism."""

import copy
import sys
from types import ModuleType

import pytest
import torch

from splats.training import optimizer as optimizer_module
from splats.training.kernels import native_kernels
from splats.training.optimizer import AdamStep, SelectiveAdam, adam_cuda, adam_reference

SHAPES = ((3,), (4,), (), (1, 3), (15, 3))
NUM = 1201


def make_params(seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(NUM, *shape, generator=generator).requires_grad_() for shape in SHAPES]


def groups(params: list[torch.Tensor]) -> list[dict]:
    return [{"params": [param], "lr": 10.0 ** -(i + 1)} for i, param in enumerate(params)]


def set_gradients(params: list[torch.Tensor], step: int) -> None:
    for param, gradient in zip(params, make_params(100 + step), strict=True):
        param.grad = 0.01 * gradient.detach()


@pytest.fixture(params=["installed", "torch"])
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What this installation uses, which is the kernels where they are built, and torch's form."""
    if request.param == "torch":
        monkeypatch.setattr(optimizer_module, "native_kernels_for", lambda *_: None)
    return request.param


def test_dense_steps_equal_adam(implementation: str) -> None:
    ours, theirs = make_params(), make_params()
    selective = SelectiveAdam(groups(ours))
    adam = torch.optim.Adam(groups(theirs), eps=1e-15)
    for step in range(6):
        set_gradients(ours, step)
        set_gradients(theirs, step)
        selective.step()
        adam.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=2e-6)
        for key in ("exp_avg", "exp_avg_sq", "step"):
            torch.testing.assert_close(selective.state[a][key], adam.state[b][key])


def test_unseen_rows_keep_values_and_moments(implementation: str) -> None:
    params, dense = make_params(), make_params()
    selective, reference = SelectiveAdam(groups(params)), SelectiveAdam(groups(dense))
    set_gradients(params, 0)
    set_gradients(dense, 0)
    selective.step()
    reference.step()
    before = [param.detach().clone() for param in params]
    moments = [selective.state[param]["exp_avg"].clone() for param in params]
    visible = torch.arange(NUM) % 3 == 0
    set_gradients(params, 1)
    set_gradients(dense, 1)
    selective.step(visible)
    reference.step()
    for i, param in enumerate(params):
        assert torch.equal(param[~visible], before[i][~visible])
        assert torch.equal(selective.state[param]["exp_avg"][~visible], moments[i][~visible])
        torch.testing.assert_close(param[visible], dense[i][visible], rtol=1e-6, atol=1e-7)


def test_state_dict_continues_bit_for_bit(implementation: str) -> None:
    params = make_params()
    selective = SelectiveAdam(groups(params))
    for step in range(2):
        set_gradients(params, step)
        selective.step()
    copies = [param.detach().clone().requires_grad_() for param in params]
    resumed = SelectiveAdam(groups(copies))
    resumed.load_state_dict(copy.deepcopy(selective.state_dict()))
    set_gradients(params, 2)
    set_gradients(copies, 2)
    selective.step()
    resumed.step()
    assert all(torch.equal(a, b) for a, b in zip(params, copies, strict=True))


def test_bias_corrections_fit_into_rate_and_eps_of_a_kernel_without_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What gsplat's kernel is given, by its formula in plain torch."""

    def adam(param, gradient, first, second, visible, rate, beta1, beta2, eps) -> None:
        first[visible] = beta1 * first[visible] + (1 - beta1) * gradient[visible]
        second[visible] = beta2 * second[visible] + (1 - beta2) * gradient[visible] ** 2
        param[visible] -= rate * first[visible] / (second[visible].sqrt() + eps)

    wrapper = ModuleType("gsplat.cuda._wrapper")
    wrapper.adam = adam  # pyright: ignore[reportAttributeAccessIssue]
    for name in ("gsplat", "gsplat.cuda"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, wrapper.__name__, wrapper)
    start = [tensor.detach().double() for tensor in make_params()]
    results = []
    for update in (adam_cuda, adam_reference):
        params = [tensor.clone() for tensor in start]
        moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in params]
        for number in (1, 2, 3):
            visible = torch.arange(NUM) % number == 0 if number > 1 else None
            gradients = [0.01 * g.detach().double() for g in make_params(number)]
            for param, gradient, (first, second) in zip(params, gradients, moments, strict=True):
                update(
                    AdamStep(param, gradient, first, second, 0.1, number, 0.9, 0.99, 1e-3, visible)
                )
        results.append(params)
    for ours, exact in zip(*results, strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-12, atol=1e-12)


def test_same_bits_for_any_number_of_threads() -> None:
    """Of the kernels where they are built, else of torch's form."""
    native = native_kernels()
    set_num_threads = torch.set_num_threads if native is None else native.set_num_threads
    before = torch.get_num_threads() if native is None else native.num_threads()
    results = []
    for count in (1, 2, 3):
        set_num_threads(count)
        params = make_params()
        set_gradients(params, 0)
        SelectiveAdam(groups(params)).step(torch.arange(NUM) % 5 != 0)
        results.append(params)
    set_num_threads(before)
    for params in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(params, results[0], strict=True))


def test_parameters_without_gradient_and_empty_sets_are_left_alone() -> None:
    params = [torch.zeros(0, 3, requires_grad=True), torch.zeros(0, 15, 3, requires_grad=True)]
    params[0].grad = torch.zeros(0, 3)
    selective = SelectiveAdam(params)
    selective.step()
    assert params[1] not in selective.state


def test_bad_settings_are_named() -> None:
    with pytest.raises(ValueError, match="`betas` must be in"):
        SelectiveAdam(make_params(), betas=(0.9, 1.0))
