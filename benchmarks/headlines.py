"""The rows that the README shows: a few of each suite, whether they meet their limits or not."""

HEADLINES = (
    "blending alone, 300,000 Gaussians, 1280x720",
    "whole forward / blending alone",
    "torch reference / native, forward + backward, 2,000 Gaussians, 160x120",
    "training step, 35,000 Gaussians, 270x480",
    "fox at 1/4, 60 s: PSNR, mean of 2 seeds",
    "fox at 1/4, 300 s: PSNR",
    "lego_400 at 1/1, 300 s: PSNR",
    "fieldwright capture, 11 photos of Sceaux castle: registered",
    "damaged assets: files",
    "damaged assets: crashes",
    "toy-cat harmonics at 22.2 b/G",
    "size of biker.spz without loss up to order, small",
    "faiss / ours, k-means, 100,000 x 45, 4,096 centers, 10 iterations",
    "biker as spz: size over splat-transform's",
    "playbot as sog: size over splat-transform's",
    "1,000,000 Gaussians of degree 3 as spz: read",
    "damaged files of 11 formats: crash, hang or wrong",
    "trivec, lego_400, 150 s: PSNR",
    "trivec, lego_400, 150 s: frame at 800 x 800",
    "trivec, lego_400, 150 s: coded file",
)
"""Names of rows, in the order of their suites; one that no suite has recorded is left out."""
