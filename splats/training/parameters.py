"""The Gaussians under training: named parameters whose rows and moments move together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.optim import Optimizer

from captures import ensure_shape

from ..gaussians import Gaussians

NAMES = tuple(item.name for item in fields(Gaussians))
"""Parameter names in the order of `Gaussians`."""


@dataclass(frozen=True)
class Rows(Gaussians):
    """Some Gaussians with what a method trains for each of them besides."""

    extra: Mapping[str, Tensor] = field(default_factory=dict)
    """Further values by name, one row per Gaussian."""

    def __getitem__(self, index: Tensor | slice) -> Rows:
        """The chosen rows, in the order of `index` (bool mask, int64 or slice)."""
        own = {name: getattr(self, name)[index] for name in NAMES}
        return Rows(**own, extra={name: value[index] for name, value in self.extra.items()})

    def value(self, name: str) -> Tensor:
        """A field of `Gaussians` or an extra row by its name."""
        return self.extra[name] if name in self.extra else getattr(self, name)


class Parameters:
    """N trainable Gaussians. Row operations edit the moments in the optimizer as well.

    A method may train `extra` values per Gaussian, such as a mask: they are copied, dropped and
    split together with their Gaussian.

    Every operation that changes the number of rows makes new `nn.Parameter` objects and puts them
    in the old ones' place in the optimizer, so references held elsewhere become stale.
    """

    def __init__(self, gaussians: Gaussians, extra: Mapping[str, Tensor] | None = None) -> None:
        """Starts from a copy of `gaussians` and of the extra rows, `[N, ...]` each."""
        values = {name: getattr(gaussians, name) for name in NAMES} | dict(extra or {})
        for name, value in values.items():
            ensure_shape(name, value, (len(gaussians), *value.shape[1:]), "one row per Gaussian.")
        self._tensors = {
            name: nn.Parameter(value.detach().clone().contiguous())
            for name, value in values.items()
        }

    def __len__(self) -> int:
        return len(self._tensors["means"])

    def __getitem__(self, name: str) -> nn.Parameter:
        return self._tensors[name]

    def items(self) -> Iterator[tuple[str, nn.Parameter]]:
        """(name, parameter) in the order of `NAMES`, then the extra rows."""
        return iter(self._tensors.items())

    def gaussians(self) -> Gaussians:
        """The parameters themselves, differentiable, as `Gaussians`."""
        return Gaussians(**{name: self._tensors[name] for name in NAMES})

    def detached(self) -> Gaussians:
        """The current values as `Gaussians` without gradients; they change as training goes on."""
        return Gaussians(**{name: self._tensors[name].detach() for name in NAMES})

    @torch.no_grad()
    def rows(self, index: Int[Tensor, " M"]) -> Rows:
        """Detached copies of the rows `index`, which may repeat."""
        values = {name: param[index] for name, param in self.items()}
        own = {name: values.pop(name) for name in NAMES}
        return Rows(**own, extra=values)

    @torch.no_grad()
    def keep(self, index: Int[Tensor, " M"], optimizer: Optimizer) -> None:
        """Leaves only the rows `index`, in that order, with their moments."""
        for name, param in self.items():
            self._exchange(name, param[index], optimizer, lambda moment: moment[index])

    @torch.no_grad()
    def append(self, added: Rows, optimizer: Optimizer) -> None:
        """Adds rows at the end; their moments start at zero."""

        def extend(moment: Tensor) -> Tensor:
            return torch.cat([moment, moment.new_zeros(len(added), *moment.shape[1:])])

        for name, param in self.items():
            values = torch.cat([param, added.value(name)])
            self._exchange(name, values, optimizer, extend)

    @torch.no_grad()
    def replace(
        self,
        index: Int[Tensor, " M"],
        values: Rows,
        optimizer: Optimizer,
        *,
        keep_moments: bool = False,
    ) -> None:
        """Overwrites the rows `index` (each at most once) in place; their moments become zero."""
        for name, param in self.items():
            param[index] = values.value(name)
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
