"""Hard questions, with the answers that are kept of them."""
