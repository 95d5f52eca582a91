"""The doors: the API under /v1, the host gate, the marketplace snapshot, and the loops behind them."""
