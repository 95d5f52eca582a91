"""Our figures, each next to a peer's or a floor's from the same run: `python -m bench`."""
