"""What evidence weighs. Written by `python -m benchmarks.verifier_fit`, not by hand."""

WEIGHTS = {
    "overlap": 0.2977,
    "inliers": 6.713,
    "coincidence": 3.26,
    "support": 0,
    "share": 0.4382,
    "diversity": 0.1581,
    "likeness": 1.198,
    "stiffness": 1.58,
}
"""Log-odds per unit of each feature of `verification.Evidence`, none negative."""
BIAS = 1.222
"""Log-odds without any evidence, both answers being as likely beforehand."""
CONVINCING = 0.04165
"""Log-odds from which clouds are called aligned: at most 1 of 100 held-out searches took a
wrong pose."""
