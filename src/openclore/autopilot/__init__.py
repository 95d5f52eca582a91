"""Automation over the client: pure plans, and runners that carry them out."""
