"""`python -m tierline.engines.nginx.pack FROM TO`: text files of a folder, compressed beforehand.

TO/br/PATH and TO/gzip/PATH have the time of FROM/PATH to the nanosecond: packed.js serves them only while that holds,
so a file that was saved since is never served in its old form. What compressing doesn't make smaller is left out, and
so are pictures, films and fonts, which are compressed already.
"""

from __future__ import annotations

import gzip
import os
import sys
from collections.abc import Callable
from pathlib import Path

TEXT = frozenset(
    {
        ".html", ".htm", ".css", ".js", ".mjs", ".json", ".map", ".svg", ".txt", ".xml", ".webmanifest", ".csv", ".md",
        ".vtt", ".wasm",
    }
)  # fmt: skip
"""Endings of what is text."""
LEAST = 1024
"""Bytes below which compressing isn't worth it."""


def codings() -> dict[str, Callable[[bytes], bytes]]:
    """What can be made here, by its name in Content-Encoding. Brotli's best takes seconds for a large file."""
    found: dict[str, Callable[[bytes], bytes]] = {"gzip": lambda data: gzip.compress(data, 9, mtime=0)}
    try:
        import brotli  # type: ignore[import-untyped]
    except ImportError:
        return found
    found["br"] = lambda data: brotli.compress(
        data, mode=brotli.MODE_TEXT, quality=11 if len(data) < 1 << 16 else 9
    )
    return found


def pack(source: Path, target: Path) -> int:
    """Make what is missing or old; how many files that were."""
    made = 0
    for folder, _, names in os.walk(source):
        for path in (Path(folder, name) for name in names):
            told = path.stat()
            if path.suffix.lower() not in TEXT or told.st_size < LEAST or path.name.startswith("."):
                continue
            for coding, compress in codings().items():
                packed = target / coding / path.relative_to(source)
                if packed.exists() and packed.stat().st_mtime_ns == told.st_mtime_ns:
                    continue
                data = path.read_bytes()
                small = compress(data)
                if len(small) >= len(data):
                    continue
                packed.parent.mkdir(parents=True, exist_ok=True)
                new = packed.with_name(f".{packed.name}.new")
                new.write_bytes(small)
                os.utime(new, ns=(told.st_mtime_ns, told.st_mtime_ns))
                new.replace(packed)
                made += 1
    return made


if __name__ == "__main__":
    pack(Path(sys.argv[1]), Path(sys.argv[2]))
