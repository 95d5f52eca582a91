"""One of several processes that share a key: calls as fast as the client lets it.

`python -m bench.caller PORT SECRET UNTIL` prints a JSON object: when calls were answered (Unix s), and how
many answers said that they came too fast.
"""

import json
import sys
import time

import httpx2

from openclore.client import Clore


class Counting(httpx2.HTTPTransport):
    """Sees what the client would try again."""

    refused = 0

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        response = super().handle_request(request)
        self.refused += b'"code":5' in response.read()
        return response


def main(port: int, secret: str, until: float) -> None:
    transport, answered = Counting(), []
    with Clore(secret, base_url=f"http://127.0.0.1:{port}/v1", transport=transport) as clore:
        while time.time() < until:
            clore.wallets()
            answered.append(time.time())
    print(json.dumps({"answered": answered, "refused": transport.refused}))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
