"""The tab Failures: hard questions and the answers kept of them."""
