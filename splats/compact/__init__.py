"""Compact splats: few Gaussians at few bits, trained or made from finished scenes."""
