"""What evidence weighs. Written by `python -m benchmarks.verifier_fit`, not by hand."""

WEIGHTS = {
    "overlap": 0.4189,
    "inliers": 8.485,
    "coincidence": 3.149,
    "support": 0,
    "share": 0,
    "diversity": 0.02724,
    "likeness": 0.8281,
    "stiffness": 1.837,
    "lead": 1.034,
}
"""Log-odds per unit of each feature of `verification.Evidence`, none negative."""
BIAS = -0.6017
"""Log-odds without any evidence, both answers being as likely beforehand."""
CONVINCING = 0.7586
"""Log-odds from which clouds are called aligned: at most 1 of 100 held-out searches took a
wrong pose."""
