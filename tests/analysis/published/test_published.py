import math

import pytest

from raypeft.analysis.published.tables import load_published
from raypeft.analysis.read.scores import cell_scores
from raypeft.core.errors import UnknownNameError


def test_every_table_is_there_with_its_cells():
    sizes = {table.number: len(table.frame) for table in load_published("dutt2024")}
    assert sizes == {2: 6 * 5, 3: 8 * 3 * 5, 4: 8 * 3, 5: 8 * 2 * 5}


def test_scores_are_as_printed():
    tables = {table.number: table for table in load_published()}
    cells = {(c.model, c.dataset, c.method): c for c in cell_scores(tables[3].frame, "f1_macro")}
    assert str(cells["vit_base", "breastus", "bitfit"]) == "0.970 ± 0.013"  # .97 ± 1.3
    fid = {(c.fraction, c.method): c for c in cell_scores(tables[4].frame, "fid")}
    assert fid[0.1, "difffit"].mean == 17.49
    assert math.isnan(fid[0.1, "difffit"].sd)


def test_images_and_parameters_stand_beside_the_scores():
    tables = {
        table.number: table.frame.set_index(["model", "dataset", "method"]) for table in load_published()
    }
    row = tables[5].loc[("vit_base_mae", "ham10000", "lora")]
    assert (row["n_train"], row["n_classes"], row["trainable"], row["total"]) == (
        7511,
        7,
        589_824,
        85_798_656,
    )


def test_another_name_is_refused_with_the_one_there_is():
    with pytest.raises(UnknownNameError, match="no published results named 'dutt2023'; there is dutt2024"):
        load_published("dutt2023")
