"""Comparison and measurement of strategies: everything between the models and the page or command line."""
