"""One function per thing a person or a machine can do: read, decide, apply, one commit."""
