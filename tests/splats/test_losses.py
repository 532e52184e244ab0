"""The fused loss against its torch twin, and the twin against its definition."""

import pytest
import torch

from splats.training import losses
from splats.training.kernels import native_kernels
from splats.training.losses import photometric_loss, ssim_l1_reference

needs_native = pytest.mark.skipif(native_kernels() is None, reason="native kernels are not built")


def make_pair(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(height * 1000 + width)
    target = torch.rand(height, width, 3, generator=generator)
    return (target + 0.2 * torch.randn(target.shape, generator=generator)), target


@needs_native
@pytest.mark.parametrize("masked", [False, True])
# Smaller than the window, one tile, several tiles down (48 rows) and across (288 columns).
@pytest.mark.parametrize("size", [(1, 1), (4, 7), (31, 40), (100, 21), (9, 700)])
def test_native_loss_equals_reference_in_double(size: tuple[int, int], masked: bool) -> None:
    image, target = make_pair(*size)
    mask = torch.arange(size[0] * size[1]).reshape(size) % 3 != 1 if masked else None
    image.requires_grad_()
    fused = photometric_loss(image, target, ssim_weight=0.3, mask=mask)
    (2 * fused.loss).backward()
    exact_image = image.detach().double().requires_grad_()
    exact = ssim_l1_reference(exact_image, target.double(), ssim_weight=0.3, mask=mask)
    (2 * exact.loss).backward()
    assert image.grad is not None and exact_image.grad is not None
    for ours, twin in zip(fused, exact, strict=True):
        assert abs(ours.item() - twin.item()) < 1e-6  # worst observed 5e-8
    error = (image.grad - exact_image.grad).abs().max() / exact_image.grad.abs().max()
    assert error < 1e-4  # worst observed 2e-5, from the cancellation in the variances


@needs_native
def test_loss_has_the_same_bits_for_any_number_of_threads() -> None:
    native = native_kernels()
    assert native is not None
    image, target = make_pair(130, 60)
    results = []
    for count in (1, 2, 3):
        native.set_num_threads(count)
        leaf = image.clone().requires_grad_()
        value = photometric_loss(leaf, target).loss
        value.backward()
        results.append((value, leaf.grad))
    native.set_num_threads(0)
    for value, gradient in results[1:]:
        assert torch.equal(value, results[0][0]) and torch.equal(gradient, results[0][1])


def test_reference_gradient() -> None:
    image, target = make_pair(6, 5)
    leaf = image.double().requires_grad_()

    def loss(x: torch.Tensor) -> torch.Tensor:
        return ssim_l1_reference(x, target.double()).loss

    assert torch.autograd.gradcheck(loss, (leaf,))


def test_equal_images_have_no_loss_and_masked_pixels_no_gradient() -> None:
    image, target = make_pair(20, 20)
    result = photometric_loss(target, target)
    assert result.l1 == 0 and result.ssim == pytest.approx(1) and abs(result.loss) < 1e-6
    mask = torch.zeros(20, 20, dtype=torch.bool)
    mask[:10] = True
    image.requires_grad_()
    photometric_loss(image, target, mask=mask).loss.backward()
    assert image.grad is not None
    assert (image.grad[10:] == 0).all() and (image.grad[:10] != 0).any()
    assert photometric_loss(image, target, mask=torch.zeros_like(mask)).loss == 0


def test_falls_back_without_native_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    image, target = make_pair(16, 12)
    expected = photometric_loss(image, target).loss
    monkeypatch.setattr(losses, "native_kernels_for", lambda *_: None)
    assert torch.allclose(photometric_loss(image, target).loss, expected, atol=1e-6)


def test_bad_arguments_are_named(without_type_checks: None) -> None:
    image, target = make_pair(8, 8)
    with pytest.raises(ValueError, match=r"`target` must be \[8, 8, 3\]"):
        photometric_loss(image, target[:4])
    with pytest.raises(ValueError, match="`ssim_weight` must be in"):
        photometric_loss(image, target, ssim_weight=2.0)
