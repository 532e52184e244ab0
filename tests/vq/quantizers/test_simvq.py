"""SimVQ: no dead codes, decoding through the layer, and a file that holds a seed and a matrix."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import torch
from torch import Tensor

from vq import CodecError
from vq.quantizers import SimVQ, VectorQuantizer, philox4x32, portable_normals
from vq.quantizers.philox import NORMAL_STD


def blob(count: int, *, dim: int, generator: torch.Generator) -> Tensor:
    """A small cloud beside the origin: most codes of a random codebook are far from it."""
    mixing = torch.eye(dim) + 0.3 * torch.randn(
        dim, dim, generator=torch.Generator().manual_seed(5)
    )
    center = torch.randn(dim, generator=torch.Generator().manual_seed(6))
    return center + 0.1 * torch.randn(count, dim, generator=generator) @ mixing


def test_all_codes_are_used_where_plain_quantization_collapses() -> None:
    """Same data, same seed, same initial codes: 100 % against below 5 %, at half the error."""
    dim, size = 8, 1024
    sim = SimVQ(dim, size, seed=3)
    plain = VectorQuantizer(dim, size, revive_below=0.0)
    plain.codebook.copy_(sim.codebook.detach())
    optimizer = torch.optim.Adam(sim.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        x = blob(512, dim=dim, generator=generator)
        plain(x)
        optimizer.zero_grad()
        sim(x).loss.backward()
        optimizer.step()
    unseen = blob(64 * size, dim=dim, generator=generator)
    used, errors = [], []
    for quantizer in (sim.eval(), plain.eval()):
        indices = quantizer.encode(unseen)
        used.append(indices.unique().numel() / size)
        errors.append((quantizer.decode(indices) - unseen).square().mean().item())
    assert used[0] == 1.0
    assert used[1] < 0.05
    assert errors[0] < 0.5 * errors[1]


def test_decoding_applies_the_layer() -> None:
    """Rows of C W^T + b, not rows of the frozen table."""
    quantizer = SimVQ(5, 32).eval()
    with torch.no_grad():
        quantizer.weight.normal_(generator=torch.Generator().manual_seed(0))
        quantizer.bias.fill_(2)
    expected = quantizer.basis @ quantizer.weight.T + quantizer.bias
    decoded = quantizer.decode(torch.arange(32)[:, None])
    torch.testing.assert_close(decoded, expected)
    assert (decoded - quantizer.basis).abs().min() > 0


def test_one_vector_moves_every_code() -> None:
    """The gradient of a single assignment reaches all codes, the picked one or not."""
    quantizer = SimVQ(4, 64)
    before = quantizer.codebook.detach().clone()
    quantizer(torch.ones(1, 4)).loss.backward()
    torch.optim.SGD(quantizer.parameters(), lr=0.1).step()
    assert ((quantizer.codebook - before).abs().sum(1) > 0).all()


def test_the_start_is_the_released_configuration() -> None:
    """Codes of variance 1/dim."""
    codes = SimVQ(16, 4096).codebook
    assert codes.std().item() == pytest.approx(0.25, rel=0.02)


def test_bytes_hold_the_seed_and_the_matrix_only() -> None:
    """Size does not grow with the codes; the codes come back, and a second trip is the identity."""
    generator = torch.Generator().manual_seed(0)
    x = blob(2000, dim=6, generator=generator)
    small, large = SimVQ(6, 64, seed=9), SimVQ(6, 4096, seed=9)
    small.fit(x)
    large.fit(x)
    assert len(small.to_bytes()) == len(large.to_bytes()) == 15 + 2 * 36 + 4 * 6
    large.eval()
    loaded = SimVQ.from_bytes(large.to_bytes())
    assert loaded.to_bytes() == large.to_bytes()
    assert (loaded.codebook - large.codebook).abs().max() < 1e-4 * large.codebook.abs().max()
    indices = large.encode(x)
    assert (loaded.decode(indices) - x).square().mean().item() == pytest.approx(
        (large.decode(indices) - x).square().mean().item(), rel=1e-3
    )


def test_decoded_codes_are_exact_sums() -> None:
    """Integer arithmetic in Python gives the same bits as the module, in any order of the sum."""
    fitted = SimVQ(5, 200, seed=4)
    fitted.fit(blob(500, dim=5, generator=torch.Generator().manual_seed(0)))
    loaded = SimVQ.from_bytes(fitted.to_bytes())
    basis = (loaded.basis.numpy().astype(np.float64) * 2**16).astype(np.int64).astype(object)
    scale = 2.0**-60
    weight = loaded.weight.detach().double().numpy() / scale
    weight = np.array([[int(value) for value in row] for row in weight], dtype=object)
    exact = (basis @ weight.T).astype(np.float64) * (scale / 2**16)
    bias = loaded.bias.detach().numpy().astype(np.float64)
    expected = (exact + bias).astype(np.float32)
    assert np.array_equal(loaded.codebook.detach().numpy(), expected)


@pytest.mark.parametrize("cut", [0, 5, 16, 17, 40, -1])
def test_truncated_bytes_are_refused(cut: int) -> None:
    """Every prefix, and one byte more."""
    data = SimVQ(6, 64).to_bytes()
    with pytest.raises(CodecError, match="SimVQ"):
        SimVQ.from_bytes(data[:cut])
    with pytest.raises(CodecError, match="SimVQ"):
        SimVQ.from_bytes(data + b"\0")


def test_altered_bytes_are_refused_or_decode() -> None:
    """Any single altered byte but the low ones of the size gives CodecError or working codes."""
    data = SimVQ(3, 64).to_bytes()
    refused = []
    for place in (0, 1, 5, *range(6, len(data))):
        altered = bytearray(data)
        altered[place] ^= 0xFF
        try:
            made = SimVQ.from_bytes(bytes(altered))
        except CodecError:
            refused.append(place)
        else:
            assert made.codebook.shape == (64, 3)
    assert refused[:4] == [0, 1, 5, 13]


def test_a_state_of_another_seed_brings_its_basis() -> None:
    """Loading a state draws the basis that it was trained with."""
    source, target = SimVQ(4, 16, seed=1).eval(), SimVQ(4, 16, seed=2).eval()
    target.load_state_dict(source.state_dict())
    assert torch.equal(target.codebook, source.codebook)
    assert "basis" not in source.state_dict()


def test_philox_gives_the_published_words() -> None:
    """Known answers of Random123 for philox4x32-10."""
    cases = [
        ([0, 0, 0, 0], 0, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, 2**64 - 1, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            0x299F31D0A4093822,
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ]
    for counter, key, words in cases:
        found = philox4x32(np.array([counter], np.uint64), key)
        assert found.tolist() == [words]


def test_normals_are_fixed_forever_and_nearly_normal() -> None:
    """The bytes are part of the file format; the moments are those of Irwin and Hall's law."""
    values = portable_normals(7, 300_000)
    assert zlib.crc32(values[:4096].astype("<f4").tobytes()) == 0x786A707B
    assert np.array_equal(portable_normals(7, 1000), values[:1000])
    assert abs(values.mean()) < 5e-3
    assert values.std() == pytest.approx(NORMAL_STD, rel=5e-3)
    standard = values.astype(np.float64) / NORMAL_STD
    assert (standard**4).mean() == pytest.approx(3 - 1.2 / 8, rel=0.01)
    assert np.corrcoef(standard[:-1], standard[1:])[0, 1] == pytest.approx(0, abs=0.01)
