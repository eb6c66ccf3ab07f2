"""Pictures to train on: fetched, cut out, scaled and split."""
