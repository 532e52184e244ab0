"""Image metrics against closed forms and a direct evaluation of the definition."""

import math

import pytest
import torch

from captures.metrics import lpips_or_none, psnr, ssim


def make_pair(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(*shape, 3, generator=generator, dtype=torch.float64)
    return (target + 0.1 * torch.randn(target.shape, generator=generator)).clamp(0, 1), target


def test_psnr_of_a_constant_error() -> None:
    target = torch.full((2, 8, 9, 3), 0.5)
    result = psnr(target + torch.tensor([0.1, 0.01])[:, None, None, None], target)
    torch.testing.assert_close(result, torch.tensor([20.0, 40.0]))
    assert psnr(target[0], target[0]) == math.inf


def test_values_are_clamped() -> None:
    image, target = make_pair(12, 12)
    beyond = torch.where(image == 1, 7.0, image)
    assert psnr(beyond, target) == psnr(image, target)
    assert ssim(beyond, target) == ssim(image, target)


def test_ssim_follows_its_definition_pixel_by_pixel() -> None:
    image, target = make_pair(9, 13)
    offset = torch.arange(11, dtype=torch.float64) - 5
    window = torch.exp(-(offset**2) / 4.5)
    window = (window[:, None] * window / window.sum() ** 2)[..., None]

    def padded(tensor: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(tensor, (0, 0, 5, 5, 5, 5))

    total = torch.zeros((), dtype=torch.float64)
    for i in range(9):
        for j in range(13):
            x, y = (padded(t)[i : i + 11, j : j + 11] for t in (image, target))

            def mean(values: torch.Tensor) -> torch.Tensor:
                return (window * values).sum(dim=(0, 1))

            mx, my = mean(x), mean(y)
            vx, vy, vxy = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
            total += (
                (2 * mx * my + 1e-4)
                * (2 * vxy + 9e-4)
                / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))
            ).mean()
    torch.testing.assert_close(ssim(image, target), total / (9 * 13))


def test_masked_pixels_do_not_matter() -> None:
    image, target = make_pair(20, 14)
    mask = torch.rand(20, 14, generator=torch.Generator().manual_seed(1)) > 0.3
    spoiled = torch.where(mask[..., None], image, 0.123)
    for metric in (psnr, ssim):
        assert metric(spoiled, target, mask=mask) == metric(image, target, mask=mask)
        full = torch.ones_like(mask)
        torch.testing.assert_close(metric(image, target, mask=full), metric(image, target))


def test_batches_are_evaluated_image_by_image() -> None:
    image, target = make_pair(2, 3, 12, 15)
    for metric in (psnr, ssim):
        batch = metric(image, target)
        assert batch.shape == (2, 3)
        torch.testing.assert_close(batch[1, 2], metric(image[1, 2], target[1, 2]))


def test_lpips_is_none_or_a_distance() -> None:
    image, target = make_pair(64, 64)
    value = lpips_or_none(image, target)
    if value is not None:
        assert lpips_or_none(target, target) == 0 and value > 0


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_shapes_must_match(metric: object) -> None:
    image, target = make_pair(8, 8)
    with pytest.raises(Exception, match="target"):
        metric(image, target[:4])  # type: ignore[operator]
