"""Recipes that made the mini suite."""
