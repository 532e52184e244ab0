"""What training may learn per photo besides the scene: exposure and camera pose."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class ExposureCorrection(nn.Module):
    """A 3 x 4 affine color transform per training image, the identity at first.

    It explains changes of exposure and white balance between photos so that the Gaussians need
    not. Held-out images are judged without it. Reference: Kerbl et al., "A Hierarchical 3D
    Gaussian Representation", 2024, section 6.
    """

    def __init__(self, num_images: int) -> None:
        super().__init__()
        self.transforms = nn.Parameter(torch.eye(3, 4).repeat(num_images, 1, 1))

    def forward(self, image: Float[Tensor, "H W 3"], index: int) -> Float[Tensor, "H W 3"]:
        """`image` as photo `index` exposed it."""
        transform = self.transforms[index]
        return image @ transform[:, :3].T + transform[:, 3]


class PoseCorrection(nn.Module):
    """A small rigid motion per training camera, applied in the camera's own frame."""

    def __init__(self, num_cameras: int) -> None:
        super().__init__()
        self.motions = nn.Parameter(torch.zeros(num_cameras, 6))

    def forward(self, viewmat: Float[Tensor, "4 4"], index: int) -> Float[Tensor, "4 4"]:
        """exp(xi) @ viewmat with xi = (translation, rotation vector) of camera `index`."""
        moved = self.motions[index]
        zero = moved.new_zeros(())
        x, y, z = moved[3:].unbind()
        twist = torch.stack(
            [
                torch.stack([zero, -z, y, moved[0]]),
                torch.stack([z, zero, -x, moved[1]]),
                torch.stack([-y, x, zero, moved[2]]),
                moved.new_zeros(4),
            ]
        )
        return torch.linalg.matrix_exp(twist) @ viewmat
