"""The contract: codes, types, endpoints and the host link. Imports nothing of ours.

Market, client and host agent meet only here.
"""
