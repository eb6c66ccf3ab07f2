"""What is made of finished answers: agreement, attention, absence, candidates, comparison with a known mask."""
