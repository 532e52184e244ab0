"""Codecs of rows that belong together: transform, quantizer and context coder in one plan."""
