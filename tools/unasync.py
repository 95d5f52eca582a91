"""Write the synchronous client from the asynchronous one, word by word.

python tools/unasync.py            writes
python tools/unasync.py --check    exits 1 if what is written is not what would be
"""

import re
import subprocess
import sys
from pathlib import Path

CLIENT = Path(__file__).parent.parent / "src" / "openclore" / "client"
SOURCES, TARGETS = CLIENT / "_async", CLIENT / "_sync"
HEADER = "# Generated from _async/{name} by tools/unasync.py: change that one.\n"

# In this order; the first word that fits is taken.
WORDS = [
    (r"async (def|with|for) ", r"\1 "),
    (r"await ", ""),
    (r"The asynchronous client. `_sync/` is generated from this folder by .*", 'The synchronous client."""'),
    (r"Awaitable\[([^\[\]]+)\]", r"\1"),
    (r"AsyncIterator, Awaitable, Callable, Mapping", "Callable, Iterator, Mapping"),
    (r"AsyncIterator, Iterable", "Iterable, Iterator"),
    (r"\bAwaitable, ", ""),
    (r"for (\w+) in (\S+):\n\s+yield \1\n", r"yield from \2\n"),
    (r"asyncio\.sleep", "time.sleep"),
    (r"asyncio\.Lock", "threading.Lock"),
    (r"import asyncio\nimport time", "import time"),
    (r"import asyncio", "import threading"),
    (r"\basynccontextmanager\b", "contextmanager"),
    (r"\benter_async_context\b", "enter_context"),
    (r"\baiter_bytes\b", "iter_bytes"),
    (r"\baclose\b", "close"),
    (r"__aenter__", "__enter__"),
    (r"__aexit__", "__exit__"),
    (r"\bAsync([A-Z]\w*)", r"\1"),
]


def synchronous(name: str, source: str) -> str:
    """The synchronous text of an asynchronous one."""
    text = source
    for pattern, replacement in WORDS:
        text = re.sub(pattern, replacement, text)
    left = re.search(r"\b(async|await|asyncio)\b|\bAsync", text)
    if left:
        raise SystemExit(f"{SOURCES / name}: no synchronous word for {left.group()!r}")
    return formatted(TARGETS / name, HEADER.format(name=name) + text)


def formatted(path: Path, text: str) -> str:
    """Shorter words need fewer lines."""
    ruff = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(path), "-"]
    return subprocess.run(ruff, input=text, capture_output=True, text=True, check=True).stdout


def main() -> int:
    wanted = {path.name: synchronous(path.name, path.read_text()) for path in sorted(SOURCES.glob("*.py"))}
    if "--check" not in sys.argv[1:]:
        TARGETS.mkdir(exist_ok=True)
        for name, text in wanted.items():
            (TARGETS / name).write_text(text)
        return 0
    written = {path.name: path.read_text() for path in TARGETS.glob("*.py")}
    for name in wanted.keys() | written.keys():
        if wanted.get(name) != written.get(name):
            print(f"{TARGETS / name} does not match {SOURCES / name}; run: python tools/unasync.py")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
