import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from raypeft.core.plain import plain


@dataclass
class Pair:
    name: str
    value: float


def test_json_gets_no_number_and_no_letter_that_it_has_not():
    content = {
        "pair": Pair("\udce9\x1b", float("nan")),
        "\udcff": np.array([1.5, np.inf]),
        "path": Path("/a"),
        "n": np.int64(3),
        "none": (None, True),
    }
    text = json.dumps(plain(content), allow_nan=False)
    assert json.loads(text) == {
        "pair": {"name": "\\xe9\x1b", "value": None},
        r"\xff": [1.5, None],
        "path": "/a",
        "n": 3,
        "none": [None, True],
    }
    text.encode()
    assert "\\ud" not in text.lower()
