"""Does a market speak the API as it was written down and recorded? Asked over plain HTTP."""
