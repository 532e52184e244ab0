"""What evidence weighs. Written by `python -m benchmarks.verifier_fit`, not by hand."""

WEIGHTS = {
    "overlap": 0.1659,
    "inliers": 14.13,
    "coincidence": 3.622,
    "support": 0,
    "share": 0.4893,
    "diversity": 0.01471,
    "likeness": 0.5359,
    "stiffness": 2.633,
}
"""Log-odds per unit of each feature of `verification.Evidence`, none negative."""
BIAS = -0.5616
"""Log-odds without any evidence, both answers being as likely beforehand."""
CONVINCING = -0.1349
"""Log-odds from which clouds are called aligned: at most 1 of 100 held-out searches took a
wrong pose."""
