"""Hostile strings, as captions, keys and URLs may hold them to run code or to break a parser."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from dask_aesthetic.report import write_report

STRINGS = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</textarea></noscript><img src=x onerror=alert(1)>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    '" autofocus onfocus="alert(1)',
    "`><svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<math><mtext></mtext><mglyph><style><img src=x onerror=alert(1)></style></mglyph></math>",
    "<iframe src='{beacon}/frame'></iframe>",
    "<object data='{beacon}/object'></object><embed src='{beacon}/embed'>",
    "<link rel=stylesheet href='{beacon}/css'><meta http-equiv=refresh content='0;url={beacon}/meta'>",
    "<base href='{beacon}/'><form action='{beacon}/form'><input type=submit></form>",
    "<img src='{beacon}/img'>",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    " javascript:alert(1)",
    "java\tscript:alert(1)",
    "java\nscript:alert(1)",
    "\x01javascript:alert(1)",
    "vbscript:msgbox(1)",
    "data:text/html,<script>alert(1)</script>",
    "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
    "file:///etc/passwd",
    "//127.0.0.1/protocol-relative",
    "http://a.example\\@b.example/",
    'https://example.com/"onmouseover="alert(1)',
    "https://example.com/<script>alert(1)</script>",
    "https://example.com/'><svg/onload=alert(1)>",
    "http://[half",
    "-->",
    "<!--",
    "]]>",
    "<![CDATA[",
    "{{ 7*7 }}",
    "{% for x in ().__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}",
    "{# comment #}",
    "${7*7}",
    "nul\0byte",
    "\u202egnp.exe",
    "\u2066isolate\u2069 \u200e\u200f",
    "\u2028\u2029",
    "\ufeffbom\ufffe",
    "half \ud83d of a pair",
    "\ud800\udfff",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#x3c;script&#x3e;",
    "x" * 100_000,
    "<b>" * 20_000,
    "naïve 画像 🎨 עברית",
    "",
    " ",
]


def strings(beacon: str = "http://127.0.0.1:9") -> list[str]:
    """Corpus of hostile strings; their URLs point to `beacon`."""
    return [text.replace("{beacon}", beacon) for text in STRINGS]


def page(path: Path, texts: list[str], title: str = "", seed: int = 0) -> Path:
    """Write a report with the corpus in every column but the scores, in its title and in its provenance."""
    scores = np.linspace(4.51, 5.49, len(texts)).astype(np.float32)
    scores[::5] = np.nan
    column = pd.Series(texts, dtype=object)  # Strings of pandas 3 hold no half of a surrogate pair.
    names = {"key_column": "<b>key", "url_column": "url", "by": "</table><b>group", "image_column": "image"}
    frame = pd.DataFrame({"aesthetic_score": scores, **dict.fromkeys([*names.values(), "status"], column)})
    return write_report(
        frame,
        path,
        columns={"score_column": "aesthetic_score", "status_column": "status", **names},
        threshold=5,
        known={"scale": "raw", "predictor": title, "predictor_scale": "unknown"},
        samples=24,
        seed=seed,
        title=title,
        provenance={"nested": dict(zip(texts, texts, strict=True)), **dict(zip(texts, texts, strict=True))},
    )
