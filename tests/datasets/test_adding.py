"""The data set of docs/adding.md, as written there."""

import json
import re
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs" / "adding.md"


def test_the_example_of_the_documentation_is_a_data_set(tmp_path, write_image):
    code = re.search(r'```python\n("""Skin.*?)```', DOCS.read_text(), re.DOTALL)[1]
    rows = ["id,diagnosis,patient,sex"]
    for number in range(6):
        write_image(tmp_path / "images" / f"{number}.jpg", seed=number)
        rows.append(f"{number},{'malignant' if number % 2 else 'benign'},p{number},f")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    program = f"""{code}
import json
from dataclasses import asdict
from raypeft.datasets.check import check_dataset
print(json.dumps(asdict(check_dataset("example:{tmp_path}"))))
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    report = json.loads(run.stdout)
    assert report["classes"] == {"benign": 3, "malignant": 3}
    assert report["subgroups"] == {"sex": {"f": 6}}
    assert report["problems"] == []
    assert [warning[:33] for warning in report["warnings"]] == ["2 classes have fewer than 5 test "]
