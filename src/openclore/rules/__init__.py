"""What should happen: plain functions over plain data. No clock, no I/O, no randomness; `now` is given."""
