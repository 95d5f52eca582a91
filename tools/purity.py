"""Check that the rules, and the planning half of the automation, touch no clock, no I/O and no randomness.

They may import only what is listed here, and may not call the built-ins that reach outside.
"""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent / "src" / "openclore"
PURE = [
    *sorted((ROOT / "rules").glob("*.py")),
    *(
        ROOT / "autopilot" / f"{name}.py"
        for name in (
            "actions",
            "alerts",
            "budget",
            "conditions",
            "file",
            "fleets",
            "fleets_choose",
            "fleets_follow",
            "fleets_problems",
            "memory",
            "observation",
            "outbox",
            "pricing",
            "servers",
            "settings",
            "templates",
            "words",
        )
    ),
    ROOT / "host" / "plan.py",
    ROOT / "host" / "runtime.py",
]
ALLOWED_IMPORTS = {
    "base64",
    "collections",
    "dataclasses",
    "datetime",
    "decimal",
    "difflib",
    "enum",
    "fnmatch",
    "functools",
    "hashlib",
    "heapq",
    "ipaddress",
    "itertools",
    "math",
    "msgspec",
    "operator",
    "re",
    "statistics",
    "string",
    "typing",
    "zoneinfo",
}
OWN = ("openclore.api", "openclore.rules")
FORBIDDEN_CALLS = {"open", "print", "input", "exec", "eval", "__import__", "breakpoint"}
CLOCKS = {"now", "utcnow", "today"}
"""Methods that `datetime` has."""


def violations(file: Path) -> list[str]:
    """What in a file reaches outside, as "file:line: what"."""
    package = "openclore." + ".".join(file.relative_to(ROOT).parent.parts)
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = (
                ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            )
            names = [".".join(part for part in (base, node.module) if part)]
            if not node.module:
                names = [f"{base}.{alias.name}" for alias in node.names]
        elif (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN_CALLS
        ):
            found.append(f"{file}:{node.lineno}: calls {node.func.id}")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CLOCKS:
            found.append(f"{file}:{node.lineno}: looks at the clock with {node.func.attr}()")
        found += [f"{file}:{node.lineno}: imports {name}" for name in names if not _allowed(name)]
    return found


def _allowed(name: str) -> bool:
    own = (*OWN, *(f"openclore.{file.parent.name}.{file.stem}" for file in PURE))
    return name.split(".")[0] in ALLOWED_IMPORTS or any(name == o or name.startswith(f"{o}.") for o in own)


if __name__ == "__main__":
    problems = [problem for file in PURE for problem in violations(file)]
    print("\n".join(problems) or f"{len(PURE)} pure files touch nothing outside")
    sys.exit(bool(problems))
