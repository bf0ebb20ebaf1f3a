"""What trials see: pseudonyms, sides and pixels under one digest; what leaks is refused."""

import os

import numpy as np
import pyarrow.parquet as pq
import pytest

from raypeft.core.errors import DataError
from raypeft.core.resize import Resize
from raypeft.datasets import Prepared, open_dataset, open_prepared, prepare
from raypeft.datasets.cache import content_digests
from raypeft.datasets.prepared import case_pseudonyms

BICUBIC = Resize(image_size=16, interpolation="bicubic")


def prepared(source: str, tmp_path, **changes) -> Prepared:
    options = {"split": "auto", "split_seed": 0, "cache_dir": tmp_path / "cache", **changes}
    return prepare(source, resizes=[BICUBIC], **options)


def write_table(root, rows, header="image,label,group"):
    (root / "labels.csv").write_text("\n".join([header, *rows]) + "\n")
    return f"csv:{root}/labels.csv"


ROWS = [f"benign/{n}.png,good,p{n // 2}" for n in range(20)] + [
    f"malignant/{n}.png,bad,q{n // 2}" for n in range(20)
]


def test_what_is_prepared_opens_again_without_its_source(class_folders, tmp_path):
    source = write_table(
        class_folders, [f"{row},{n % 3}" for n, row in enumerate(ROWS)], "image,label,group,age"
    )
    made, table = prepared(source, tmp_path), open_dataset(source)
    class_folders.rename(tmp_path / "gone")
    opened, images = open_prepared(made.digest, resize=BICUBIC, cache_dir=tmp_path / "cache")
    assert opened.digest == made.digest
    assert (opened.name, opened.classes, opened.split) == ("labels", ("bad", "good"), "grouped")
    assert opened.subgroups == table.subgroups
    assert opened.subgroups["age"][1] == "1"  # benign/1.png
    assert opened.labels.tolist() == [1] * 20 + [0] * 20
    assert images.shape == (40, 16, 16, 3)


def test_nothing_in_the_cache_names_a_file_or_a_patient(class_folders, tmp_path):
    jane = class_folders / "benign" / "Doe_Jane_1950.png"
    (class_folders / "benign" / "0.png").rename(jane)
    rows = [f"benign/{jane.name},good,Jane Doe", *ROWS[1:]]
    made = prepared(write_table(class_folders, rows), tmp_path)
    written = b"".join(path.read_bytes() for path in (tmp_path / "cache").rglob("*") if path.is_file())
    for name in (b"Jane", b"Doe", b"benign/", str(tmp_path).encode()):
        assert name not in written
    columns = pq.read_table(tmp_path / "cache" / f"{made.digest}.parquet").to_pydict()
    assert all(len(one) == 16 and int(one, 16) >= 0 for one in columns["case_id"] + columns["group"])


def test_a_group_has_one_pseudonym_and_a_case_id_leads_back_to_its_image(class_folders, tmp_path):
    source = write_table(class_folders, ROWS)
    made = prepared(source, tmp_path)
    table = open_dataset(source)
    names = dict(zip(case_pseudonyms(table, content_digests(table)), table.case_ids, strict=True))
    assert [names[one] for one in made.case_ids] == list(table.case_ids)
    pairs = set(zip(table.groups, made.groups, strict=True))
    assert len(pairs) == len(set(table.groups)) == len({pseudonym for _, pseudonym in pairs}) == 20


def test_the_digest_follows_the_data_and_not_their_place(class_folders, tmp_path, write_image):
    before = prepared(f"folder:{class_folders}", tmp_path).digest
    moved = tmp_path / "elsewhere" / "busi"
    moved.parent.mkdir()
    class_folders.rename(moved)
    assert prepared(f"folder:{moved}", tmp_path).digest == before
    write_image(moved / "benign" / "0.png", seed=999)
    assert prepared(f"folder:{moved}", tmp_path).digest != before


def test_the_digest_follows_every_column_and_neither_row_order_nor_times(class_folders, tmp_path):
    def digest(rows, header="image,label,group", **changes) -> str:
        return prepared(write_table(class_folders, rows, header), tmp_path, **changes).digest

    before = digest(ROWS)
    os.utime(class_folders / "benign" / "0.png", (0, 0))
    assert digest(ROWS[::-1]) == before
    others = [
        digest([row.replace("good", "fine") for row in ROWS]),
        digest([ROWS[0].replace("p0", "p1"), *ROWS[1:]]),
        digest(ROWS[1:]),
        digest([f"{row},x" for row in ROWS], "image,label,group,sex"),
        digest([f"{row},x" for row in ROWS], "image,label,group,source"),
        digest(ROWS, split_seed=1),
    ]
    assert len({*others, before}) == 7


def test_equal_pixels_on_two_sides_of_a_given_split_are_refused_unless_asked(class_folders, tmp_path):
    twin = class_folders / "malignant" / "0.png"
    twin.write_bytes((class_folders / "benign" / "0.png").read_bytes())
    sides = ["train", "train", "val", "test"] * 10
    rows = [f"{row.rsplit(',', 1)[0]},{side}" for row, side in zip(ROWS, sides, strict=True)]
    rows[20] = "malignant/0.png,bad,test"
    source = write_table(class_folders, rows, "image,label,split")
    with pytest.raises(DataError) as caught:
        prepared(source, tmp_path)
    assert "leakage: 1 of 11 test images share a patient, a lesion or all pixels" in str(caught.value)
    assert "benign/0.png (labels.csv:2) and" in str(caught.value)
    assert "malignant/0.png (labels.csv:22)" in str(caught.value)
    assert prepared(source, tmp_path, allow_leakage=True).split == "official"
    assert prepared(source, tmp_path, split="grouped").split == "grouped"


def test_a_patient_on_two_sides_of_a_given_split_is_refused_without_its_name(class_folders, tmp_path):
    sides = ["train", "val", "test", "train"] * 10
    rows = [f"{row},{side}" for row, side in zip(ROWS, sides, strict=True)]
    source = write_table(
        class_folders, [row.replace("p1", "Jane Doe") for row in rows], "image,label,group,split"
    )
    with pytest.raises(DataError, match=r"10 of 10 test images share a patient") as caught:
        prepared(source, tmp_path)
    assert "Jane" not in str(caught.value)


def test_preparing_refuses_what_would_stop_a_trial(class_folders, tmp_path):
    for number in range(2, 20):
        (class_folders / "benign" / f"{number}.png").unlink()
    with pytest.raises(DataError, match="class 'benign' has 2 images"):
        prepared(f"folder:{class_folders}", tmp_path)


def test_a_missing_or_damaged_table_is_told(class_folders, tmp_path):
    made = prepared(f"folder:{class_folders}", tmp_path)
    path = tmp_path / "cache" / f"{made.digest}.parquet"
    path.write_bytes(path.read_bytes()[:100])
    size = {"resize": BICUBIC, "cache_dir": tmp_path / "cache"}
    for digest in (made.digest, "0" * 16):
        with pytest.raises(DataError, match=f"prepared data {digest} cannot be read"):
            open_prepared(digest, **size)


def test_a_fraction_of_the_training_split_is_the_same_in_every_process(class_folders, tmp_path):
    made = prepared(f"folder:{class_folders}", tmp_path)
    opened, _ = open_prepared(made.digest, resize=BICUBIC, cache_dir=tmp_path / "cache")
    half, tenth = (opened.subset(fraction=fraction, seed=3) for fraction in (0.5, 0.1))
    assert set(tenth) < set(half) < set(opened.cases["train"])
    assert np.array_equal(half, made.subset(fraction=0.5, seed=3))
    assert set(half) != set(made.subset(fraction=0.5, seed=4))
