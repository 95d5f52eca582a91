"""Write the synchronous client from the asynchronous one, word by word.

python tools/unasync.py            writes
python tools/unasync.py --check    exits 1 if the written file is not what would be written
"""

import re
import subprocess
import sys
from pathlib import Path

CLIENT = Path(__file__).parent.parent / "src" / "openclore" / "client"
SOURCE, TARGET = CLIENT / "_async.py", CLIENT / "_sync.py"
HEADER = '"""Clore: the API as methods. Generated from _async.py by tools/unasync.py: change that one."""\n'

# In this order; the first word that fits is taken.
WORDS = [
    (r"async (def|with|for) ", r"\1 "),
    (r"await ", ""),
    (r"Awaitable\[None\]", "None"),
    (r"AsyncIterator, Awaitable, Callable, Mapping", "Callable, Iterator, Mapping"),
    (r"asyncio\.sleep", "time.sleep"),
    (r"import asyncio\n", ""),
    (r"\basynccontextmanager\b", "contextmanager"),
    (r"\baiter_bytes\b", "iter_bytes"),
    (r"\baclose\b", "close"),
    (r"__aenter__", "__enter__"),
    (r"__aexit__", "__exit__"),
    (r"\bAsyncClore\b", "Clore"),
    (r"\bAsync([A-Z]\w*)", r"\1"),
]


def synchronous(source: str) -> str:
    """The synchronous text of an asynchronous one."""
    _, _, text = source.partition("\n")  # the docstring has one line
    for pattern, replacement in WORDS:
        text = re.sub(pattern, replacement, text)
    left = re.search(r"\b(async|await|asyncio)\b|\bAsync", text)
    if left:
        raise SystemExit(f"{SOURCE}: no synchronous word for {left.group()!r}")
    return formatted(HEADER + text)


def formatted(text: str) -> str:
    """Shorter words need fewer lines."""
    ruff = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(TARGET), "-"]
    return subprocess.run(ruff, input=text, capture_output=True, text=True, check=True).stdout


def main() -> int:
    wanted = synchronous(SOURCE.read_text())
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(wanted)
        return 0
    if not TARGET.exists() or TARGET.read_text() != wanted:
        print(f"{TARGET} does not match {SOURCE.name}; run: python tools/unasync.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
