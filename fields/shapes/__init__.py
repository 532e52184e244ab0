"""Shapes: from any mesh to samples, to a latent, and back to a mesh."""
