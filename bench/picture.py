"""One line over logarithmic axes, as SVG."""

import math
from html import escape

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 80, 30, 60, 80
INK, FAINT = "#1f5fa8", "#d0d0d0"


Points = list[tuple[float, float]]


def picture(title: str, across: str, up: str, below: str, points: Points) -> str:
    """All values of the points are above zero; `below` says where they were measured."""
    low, high = _decades([x for x, _ in points]), _decades([y for _, y in points])
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"'
        ' font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(WIDTH / 2, 26, title, size=16),
        _text(WIDTH / 2, HEIGHT - 36, across),
        _text(WIDTH / 2, HEIGHT - 12, below, size=10),
        f'<text transform="translate(18 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">{escape(up)}</text>',
    ]
    for power in range(low[0], low[1] + 1):
        x = _across(10.0**power, low)
        parts.append(_stroke(x, TOP, x, HEIGHT - BOTTOM))
        parts.append(_text(x, HEIGHT - BOTTOM + 18, f"{10**power:,}"))
    for power in range(high[0], high[1] + 1):
        y = _up(10.0**power, high)
        parts.append(_stroke(LEFT, y, WIDTH - RIGHT, y))
        parts.append(_text(LEFT - 8, y + 4, f"{10.0**power:g}", anchor="end"))
    places = [(_across(x, low), _up(y, high)) for x, y in points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts.append(f'<polyline points="{path}" fill="none" stroke="{INK}" stroke-width="2"/>')
    for (x, y), (_, value) in zip(places, points, strict=True):
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{INK}"/>')
        anchor = "start" if x < LEFT + 20 else "end" if x > WIDTH - RIGHT - 20 else "middle"
        parts.append(_text(x, y - 10, f"{value:.3g}", anchor=anchor))
    return "\n".join([*parts, "</svg>", ""])


def _decades(values: list[float]) -> tuple[int, int]:
    """Powers of ten that hold them all."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def _across(value: float, decades: tuple[int, int]) -> float:
    return LEFT + (math.log10(value) - decades[0]) / (decades[1] - decades[0]) * (WIDTH - LEFT - RIGHT)


def _up(value: float, decades: tuple[int, int]) -> float:
    share = (math.log10(value) - decades[0]) / (decades[1] - decades[0])
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _stroke(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{FAINT}"/>'


def _text(x: float, y: float, text: str, *, anchor: str = "middle", size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'
