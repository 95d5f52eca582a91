"""How cost grows with the market."""


def draw(*, quick: bool) -> None:
    raise NotImplementedError
