"""The command line: one file per group of commands. It translates words into calls, nothing else."""
