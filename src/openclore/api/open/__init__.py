"""The contract of /open/v1: what the public API lacks. Keys, codes and money as under /v1."""
