"""Answers held against known masks: metrics, intervals, resumable and sharded runs."""
