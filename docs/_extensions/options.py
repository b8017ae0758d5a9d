"""Writes tables of options into the reference, where a comment names their dataclass."""

import re
from pathlib import Path

from aiida_mlal.ml.catalogue import load, table

PAGE = Path(__file__).parents[1] / "reference" / "options.md"
PLACE = re.compile(r"(<!-- options: (\S+) -->\n).*?(<!-- end -->)", re.S)


def written(text: str) -> str:
    """Return a page with all tables as they should be."""
    return PLACE.sub(lambda m: f"{m[1]}\n{table(load(m[2]))}\n\n{m[3]}", text)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text("utf-8")), "utf-8")
