"""Put the benchmarks' JSON files into one Markdown page.

    python scripts/bench/results.py notes.md FOLDER > RESULTS.md

Every figure comes from the JSON files; `notes.md` holds the words around them, and `{{name}}` where a table goes.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import arms
import false_positives


def main() -> None:
    notes, folder = Path(sys.argv[1]), Path(sys.argv[2])
    print(
        re.sub(r"\{\{([\w-]+)\}\}", lambda found: _table(folder / f"{found[1]}.json"), notes.read_text("utf-8")), end=""
    )


def _table(path: Path) -> str:
    content = json.loads(path.read_text("utf-8"))
    if "cases" in content:
        return false_positives.table(content)
    results = [arms.Result(**arm) for arm in content["arms"]]
    metrics = content["metrics"]
    tables = arms.table(results, metrics) + arms.rivals_table(results, metrics)
    return f"**{content['title']}** ({content['where']})\n\n{tables}"


if __name__ == "__main__":
    main()
