"""The Gaussians under training: named parameters whose rows and moments move together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.optim import Optimizer

from ..gaussians import Gaussians

NAMES = tuple(item.name for item in fields(Gaussians))
"""Parameter names in the order of `Gaussians`."""


class Parameters:
    """N trainable Gaussians. Row operations edit the moments in the optimizer as well.

    Every operation that changes the number of rows makes new `nn.Parameter` objects and puts them
    in the old ones' place in the optimizer, so references held elsewhere become stale.
    """

    def __init__(self, gaussians: Gaussians) -> None:
        """Starts from a copy of `gaussians`."""
        self._tensors = {
            name: nn.Parameter(getattr(gaussians, name).detach().clone().contiguous())
            for name in NAMES
        }

    def __len__(self) -> int:
        return len(self._tensors["means"])

    def __getitem__(self, name: str) -> nn.Parameter:
        return self._tensors[name]

    def items(self) -> Iterator[tuple[str, nn.Parameter]]:
        """(name, parameter) in the order of `NAMES`."""
        return iter(self._tensors.items())

    def gaussians(self) -> Gaussians:
        """The parameters themselves, differentiable, as `Gaussians`."""
        return Gaussians(**self._tensors)

    def detached(self) -> Gaussians:
        """The current values as `Gaussians` without gradients; they change as training goes on."""
        return Gaussians(**{name: tensor.detach() for name, tensor in self._tensors.items()})

    @torch.no_grad()
    def rows(self, index: Int[Tensor, " M"]) -> Gaussians:
        """Detached copies of the rows `index`, which may repeat."""
        return Gaussians(**{name: param[index] for name, param in self.items()})

    @torch.no_grad()
    def keep(self, index: Int[Tensor, " M"], optimizer: Optimizer) -> None:
        """Leaves only the rows `index`, in that order, with their moments."""
        for name, param in self.items():
            self._exchange(name, param[index], optimizer, lambda moment: moment[index])

    @torch.no_grad()
    def append(self, added: Gaussians, optimizer: Optimizer) -> None:
        """Adds rows at the end; their moments start at zero."""

        def extend(moment: Tensor) -> Tensor:
            return torch.cat([moment, moment.new_zeros(len(added), *moment.shape[1:])])

        for name, param in self.items():
            values = torch.cat([param, getattr(added, name)])
            self._exchange(name, values, optimizer, extend)

    @torch.no_grad()
    def replace(
        self,
        index: Int[Tensor, " M"],
        values: Gaussians,
        optimizer: Optimizer,
        *,
        keep_moments: bool = False,
    ) -> None:
        """Overwrites the rows `index` (each at most once) in place; their moments become zero."""
        for name, param in self.items():
            param[index] = getattr(values, name)
            if not keep_moments:
                self.reset_moments(name, optimizer, index)

    @torch.no_grad()
    def reset_moments(
        self, name: str, optimizer: Optimizer, index: Int[Tensor, " M"] | slice = slice(None)
    ) -> None:
        """Zeroes the moments of one parameter's rows."""
        param = self._tensors[name]
        for value in optimizer.state.get(param, {}).values():
            if _is_moment(value, param):
                value[index] = 0

    def _exchange(
        self, name: str, values: Tensor, optimizer: Optimizer, edit: Callable[[Tensor], Tensor]
    ) -> None:
        old, new = self._tensors[name], nn.Parameter(values.contiguous())
        for group in optimizer.param_groups:
            group["params"] = [new if param is old else param for param in group["params"]]
        state = optimizer.state.pop(old, None)
        if state is not None:
            optimizer.state[new] = {
                key: edit(value) if _is_moment(value, old) else value
                for key, value in state.items()
            }
        self._tensors[name] = new


def _is_moment(value: object, param: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == param.shape
