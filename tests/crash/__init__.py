"""A market is killed at random moments under load, started again, and its books are checked.

`make crash` (`python -m tests.crash --help`) does it hundreds of times, the suite twenty times.
"""
