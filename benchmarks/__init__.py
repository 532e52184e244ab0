"""Measurements of this project on this machine; not part of the wheel."""
