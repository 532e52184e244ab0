"""Adam that updates only the Gaussians seen in a step, in native kernels on CPU and CUDA."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool
from torch import Tensor
from torch.optim import Optimizer

from captures import ensure_shape

from .kernels import native_kernels_for


class SelectiveAdam(Optimizer):
    """`torch.optim.Adam` whose step may be restricted to rows.

    All parameters have the same number of rows, one per Gaussian. Rows that a step leaves out keep
    their values and moments unchanged; with every row visible a step equals Adam's. Parameters
    without a gradient are skipped. The state has Adam's layout (`step`, `exp_avg`, `exp_avg_sq`)
    and results do not depend on the number of threads.

    Reference: Kingma & Ba, "Adam", 2015; Mallick et al., "Taming 3DGS", 2024, section 4.3.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        *,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-15,
    ) -> None:
        """Groups are as for any torch optimizer; each may bring its own `lr`, `betas`, `eps`.

        Raises:
            ValueError: if `lr` or `eps` is negative or a beta is outside [0, 1).
        """
        if lr < 0 or eps < 0:
            raise ValueError(f"`lr` and `eps` must not be negative, got {lr} and {eps}.")
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"`betas` must be in [0, 1), got {betas}.")
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, visible: Bool[Tensor, " N"] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step of the rows where `visible` is True; of all rows when None."""
        by_settings: dict[tuple[float, float, float], list[tuple[Tensor, float]]] = {}
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is None:
                    continue
                if visible is not None:
                    ensure_shape("visible", visible, (len(param),), "one flag per Gaussian.")
                self._count_step(param)
                settings = (*group["betas"], group["eps"])
                by_settings.setdefault(settings, []).append((param, float(group["lr"])))
        for settings, chosen in by_settings.items():
            _update(
                [param for param, _ in chosen],
                [lr for _, lr in chosen],
                self.state,
                settings,
                visible,
            )

    def _count_step(self, param: Tensor) -> None:
        state = self.state[param]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"] = torch.zeros_like(param, memory_format=torch.contiguous_format)
            state["exp_avg_sq"] = torch.zeros_like(param, memory_format=torch.contiguous_format)
        state["step"] += 1


def _update(
    params: list[Tensor],
    learning_rates: list[float],
    state: dict[Tensor, dict[str, Tensor]],
    settings: tuple[float, float, float],
    visible: Tensor | None,
) -> None:
    """Updates `params`, which share their number of rows, betas and eps, in place."""
    gradients = [param.grad.contiguous() for param in params if param.grad is not None]
    first = [state[param]["exp_avg"] for param in params]
    second = [state[param]["exp_avg_sq"] for param in params]
    steps = [int(state[param]["step"].item()) for param in params]
    native = native_kernels_for(*params, *gradients, *first, *second)
    if native is not None and all(param.is_contiguous() for param in params):
        values = [param.detach() for param in params]
        flags = None if visible is None else visible.contiguous().view(torch.uint8)
        native.adam(values, gradients, first, second, learning_rates, steps, flags, *settings)
        return
    update = adam_cuda if params[0].is_cuda and find_spec("gsplat") else adam_reference
    beta1, beta2, eps = settings
    for i, param in enumerate(params):
        update(
            AdamStep(
                param,
                gradients[i],
                first[i],
                second[i],
                learning_rates[i],
                steps[i],
                beta1,
                beta2,
                eps,
                visible,
            )
        )


class AdamStep(NamedTuple):
    """One step of one parameter."""

    param: Tensor
    """[N, ...], changed in place as its moments are."""
    gradient: Tensor
    """Like `param`."""
    first: Tensor
    """Moment, like `param`."""
    second: Tensor
    """Moment, like `param`."""
    learning_rate: float
    """Of this parameter."""
    number: int
    """Of the step, from 1."""
    beta1: float
    """Decay of the first moment."""
    beta2: float
    """Decay of the second moment."""
    eps: float
    """Added to the root of the second moment."""
    visible: Bool[Tensor, " N"] | None
    """Rows to update, all when None."""

    @property
    def corrections(self) -> tuple[float, float]:
        """What the moments, which start at zero, have reached of their means so far."""
        return 1 - self.beta1**self.number, 1 - self.beta2**self.number


def adam_cuda(step: AdamStep) -> None:
    """`adam_reference` in one kernel of gsplat's, which corrects no bias: that goes into the
    learning rate and eps, as m / c1 / (sqrt(v / c2) + eps) = sqrt(c2) / c1 m / (sqrt(v) +
    sqrt(c2) eps)."""
    from gsplat.cuda._wrapper import adam  # pyright: ignore[reportMissingImports]

    param = step.param.detach()
    if len(param) == 0:  # by which the kernel would divide
        return
    visible = step.visible
    if visible is None:
        visible = param.new_ones(len(param), dtype=torch.bool)
    of_first, of_second = step.corrections
    rate, eps = step.learning_rate * of_second**0.5 / of_first, step.eps * of_second**0.5
    adam(param, step.gradient, step.first, step.second, visible, rate, step.beta1, step.beta2, eps)


def adam_reference(step: AdamStep) -> None:
    """A step in plain torch: the definition of the native kernels."""
    param, gradient, first, second = step.param, step.gradient, step.first, step.second
    rows = slice(None) if step.visible is None else step.visible.nonzero().flatten()
    m = torch.lerp(first[rows], gradient[rows], 1 - step.beta1)
    v = step.beta2 * second[rows] + (1 - step.beta2) * gradient[rows] ** 2
    of_first, of_second = step.corrections
    denominator = v.sqrt() / of_second**0.5 + step.eps
    param[rows] = param[rows] - step.learning_rate / of_first * m / denominator
    first[rows], second[rows] = m, v
