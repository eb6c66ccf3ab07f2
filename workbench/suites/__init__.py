"""Named sets of strategies, and the models behind them: what there is, what fits, what is fetched and kept."""
