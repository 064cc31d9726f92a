"""How far a batch has come: figures, and a page of its results."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from counterflow.batch.publish import PICTURES
from counterflow.batch.recorded import PAGE, read_facts
from counterflow.writing import save_bytes_atomically

MOST = 500
"""Most results on the page."""
DOUBTFUL = 0.5
"""A chance of success under which a result is told as likely not to have worked."""

TEMPLATE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Batch {{ name }}</title>
<meta name="viewport" content="width=device-width">
<style>
body{font:16px/1.5 system-ui,sans-serif;margin:2em auto;max-width:70em;padding:0 1em;color:#222}
img{width:100%;image-rendering:auto;border-radius:4px;background:#eee}
.all{display:grid;grid-template-columns:repeat(auto-fill,minmax(20em,1fr));gap:1.5em}
figure{margin:0}.pair{display:grid;grid-template-columns:1fr 1fr;gap:4px}
figcaption{font-size:.85em}.doubt{color:#a33}table{border-collapse:collapse;width:100%}
td,th{text-align:left;padding:.2em .8em .2em 0;vertical-align:top;border-bottom:1px solid #ddd}
small{color:#555}
</style>
<h1>{{ told.done }} of {{ told["items"] }} done</h1>
<p>{{ told.waiting }} waiting, {{ told.failed }} failed. Method {{ recipe.method }} on
{{ recipe.identity }}{% if told.seconds %}: {{ "%.0f"|format(told.forwards) }} forwards and
{{ "%.1f"|format(told.seconds) }} s for each{% endif %}.</p>
{% if failed %}<h2>Failed</h2>
<table><tr><th>picture<th>target<th>reason</tr>
{% for row in failed %}<tr><td>{{ row.image }}<td>{{ row.target }}<td>{{ row.error }}</tr>
{% endfor %}</table>{% endif %}
<h2>Results</h2>
<p>{% if shown|length < told.done %}The {{ shown|length }} of {{ told.done }} with the least
chance to have worked.{% else %}Those with the least chance to have worked come first.{% endif %}
</p>
<div class="all">
{% for row in shown %}<figure><div class="pair">
<img loading="lazy" src="{{ row.before }}" alt="{{ row.source }}">
{% if row.shown %}<a href="{{ row.after }}"><img loading="lazy" src="{{ row.after }}"
alt="{{ row.target }}"></a>{% else %}<small>{{ row.after }}</small>{% endif %}
</div><figcaption>{{ row.source }} → <b>{{ row.target }}</b>
{% if row.sentence %}<br><small class="{{ 'doubt' if row.doubt }}">{{ row.sentence }}</small>
{% endif %}</figcaption></figure>
{% endfor %}</div>
</html>
"""


def summary(rows: Sequence[dict[str, Any]], total: int = 0) -> dict[str, Any]:
    """Figures of a batch's items, JSON-ready: counts, mean costs, and the reasons of failures.

    Of a `total` of the manifest's items those wait, too, whose rank has not begun.
    """
    total, states = max(total, len(rows)), Counter(row["state"] for row in rows)
    done = [row for row in rows if row["state"] == "done"]
    failed = [row for row in rows if row["state"] == "failed"]
    return {
        "items": total,
        "done": states["done"],
        "waiting": total - states["done"] - states["failed"],
        "failed": states["failed"],
        "reasons": dict(Counter(row["error"] or "" for row in failed).most_common(20)),
        "failures": [
            {name: row[name] for name in ("image", "source", "target", "error")} for row in failed
        ],
        "forwards": _mean(done, "forwards"),
        "seconds": _mean(done, "seconds"),
        "bytes": _mean(done, "bytes"),
        "doubtful": sum(_doubtful(row) for row in done),
    }


def write_page(folder: Path, rows: Sequence[dict[str, Any]], total: int = 0) -> Path:
    """Write `results.html`, with the results least likely to have worked first; its path.

    Results in a store are shown where a browser can open them. Raises InputError where the page
    cannot be written.
    """
    from jinja2 import Environment

    done = [row for row in rows if row["state"] == "done"]
    store = read_facts(folder).get("store")
    results = PICTURES if store is None else str(store).rstrip("/")
    done.sort(key=lambda row: 1.0 if row["trust"] is None else row["trust"])
    shown = [
        row
        | {
            "before": quote(os.path.relpath(row["image"], folder.absolute())),
            "after": f"{results}/{quote(row['file'])}",
            "shown": store is None or results.startswith(("http://", "https://")),
            "doubt": _doubtful(row),
        }
        for row in done[:MOST]
    ]
    html = (
        Environment(autoescape=True)
        .from_string(TEMPLATE)
        .render(
            name=folder.name,
            told=summary(rows, total),
            recipe=read_facts(folder),
            failed=[row for row in rows if row["state"] == "failed"][:MOST],
            shown=shown,
        )
    )
    save_bytes_atomically(folder / PAGE, html.encode())
    return folder / PAGE


def _mean(rows: list[dict[str, Any]], name: str) -> float | None:
    values = [row[name] for row in rows if row[name] is not None]
    return sum(values) / len(values) if values else None


def _doubtful(row: dict[str, Any]) -> bool:
    return row["trust"] is not None and row["trust"] < DOUBTFUL
