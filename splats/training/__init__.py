"""Training of Gaussian splats: loss, optimizer, densification and the method."""
