"""Measures of masks and of their boundaries, and intervals of the figures."""
