"""Small histories, for tests of what follows them."""

from collections.abc import Iterable
from pathlib import Path

from openclore.api.offers import Offer, OfferPrice
from openclore.api.servers import MyServer
from openclore.api.specs import Net, Specs
from openclore.autopilot.history import Header, History, Recorder, document, read

START = 1_800_000_000
EVERY = 1_800
GPU = "1x NVIDIA GeForce RTX 4090"
USD = "USD-Blockchain"


def offer(
    server_id: int, usd: float, *, rented: bool = False, gpu: str = GPU, reliability: float = 0.99
) -> Offer:
    return Offer(
        id=server_id,
        owner=900,
        mrl=2_000,
        price=OfferPrice(on_demand={USD: usd}, spot={USD: usd / 2}),
        rented=rented,
        specs=Specs(gpu=gpu, gpuram=24, net=Net(cc="DE", down=500)),
        reliability=reliability,
        allowed_coins=[USD],
    )


def rig(server_id: int, *, online: bool = True) -> MyServer:
    return MyServer(id=server_id, name=f"rig-{server_id}", online=online, visibility="public")


def history_of(path: Path, moments: Iterable[list[Offer]], own: Iterable[MyServer] = ()) -> History:
    with Recorder(path, Header(market="test")) as recorder:
        for number, offers in enumerate(moments):
            recorder.append(START + number * EVERY, document(offers, list(own)))
    return read(path)
