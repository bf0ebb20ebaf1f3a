"""Splits without leakage, whatever the order of files; nested fractions."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raypeft.core.errors import DataError
from raypeft.datasets import DATASETS, Table
from raypeft.datasets.base import PaperSplit
from raypeft.datasets.duplicates import find_units
from raypeft.datasets.images import Fingerprint
from raypeft.datasets.splits import draw_by_image, leaks, resolve_split, split_table, subset

SIDES = ("train", "val", "test")


def prints(pixels: list[int]) -> list[Fingerprint]:
    """Of images that are equal where their numbers are equal, and look like no other."""
    noise = np.random.default_rng(0).integers(0, 256, (max(pixels) + 1, 48), dtype=np.uint8)
    return [Fingerprint(pixels=noise[one, :16].tobytes(), phash=noise[one, 16:].tobytes()) for one in pixels]


def split(one: Table, *, seed: int, how: str = "auto", pixels: list[int] | None = None) -> SimpleNamespace:
    units = find_units(one, prints(pixels or list(range(len(one)))), similar=None)
    sides = split_table(one, units, split=resolve_split(one, how), seed=seed)
    return SimpleNamespace(
        **{side: np.flatnonzero(sides == side) for side in SIDES}, sides=sides, units=units
    )


def part(train: np.ndarray, one: Table, *, fraction: float, seed: int) -> np.ndarray:
    return subset(train, labels=one.labels, case_ids=one.case_ids, fraction=fraction, seed=seed)


def table(labels: list[int], groups: list[str] | None = None, splits: list[str] | None = None) -> Table:
    return Table(
        name="t",
        classes=tuple(str(label) for label in range(max(labels) + 1)),
        case_ids=tuple(f"case{number:04d}" for number in range(len(labels))),
        labels=np.array(labels, dtype=np.int64),
        groups=tuple(groups) if groups else None,
        splits=tuple(splits) if splits else None,
    )


@given(st.lists(st.integers(10, 60), min_size=2, max_size=5), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_ungrouped_classes_are_shared_out_70_15_15_within_one_image(sizes, seed):
    one = table([label for label, size in enumerate(sizes) for _ in range(size)])
    parts = split(one, seed=seed)
    assert sorted([*parts.train, *parts.val, *parts.test]) == list(range(len(one)))
    for label, size in enumerate(sizes):
        for side, share in zip(SIDES, (0.70, 0.15, 0.15), strict=True):
            count = (one.labels[getattr(parts, side)] == label).sum()
            assert abs(count - share * size) <= 1


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 4)), min_size=30, max_size=60), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_a_group_never_straddles_and_shares_are_near(patients, seed):
    labels = [label for label, size in patients for _ in range(size)] + [0] * 12 + [1] * 12
    groups = [f"p{n}" for n, (_, size) in enumerate(patients) for _ in range(size)]
    groups += [f"extra{n}" for n in range(24)]
    one = table(labels, groups)
    parts = split(one, seed=seed)
    sides = [{groups[case] for case in getattr(parts, side)} for side in SIDES]
    assert len(sides[0] | sides[1] | sides[2]) == sum(len(side) for side in sides)
    for label in (0, 1):
        size = labels.count(label)
        assert abs((one.labels[parts.test] == label).sum() - 0.15 * size) <= 2


def test_the_split_does_not_depend_on_the_order_of_cases():
    labels = [number % 3 for number in range(90)]
    one = table(labels)
    order = np.random.default_rng(0).permutation(90)
    other = Table(
        name="t",
        classes=one.classes,
        case_ids=tuple(one.case_ids[case] for case in order),
        labels=one.labels[order],
    )
    for side in SIDES:
        mine = {one.case_ids[case] for case in getattr(split(one, seed=3), side)}
        theirs = {other.case_ids[case] for case in getattr(split(other, seed=3), side)}
        assert mine == theirs


def test_the_size_of_a_group_does_not_decide_where_it_goes():
    # 200 patients with 1 image and 100 with 4: 2 images per patient on average, on every side.
    groups = [f"one{n}" for n in range(200)] + [f"four{n}" for n in range(100) for _ in range(4)]
    one = table([0, 1] * 300, groups)
    for seed in range(3):
        parts = split(one, seed=seed)
        for side in SIDES:
            cases = getattr(parts, side)
            assert 1.5 < len(cases) / len({groups[case] for case in cases}) < 2.5


@pytest.mark.parametrize("sizes", [(1, 1, 1), (10, 1, 1), (5, 4, 3), (1, 1, 40)])
def test_three_groups_are_enough_for_a_class(sizes):
    groups = [f"p{n}" for n in range(30)] + [f"q{n}" for n, size in enumerate(sizes) for _ in range(size)]
    one = table([0] * 30 + [1] * sum(sizes), groups)
    parts = split(one, seed=0)
    counts = [int((one.labels[getattr(parts, side)] == 1).sum()) for side in SIDES]
    assert sorted(counts) == sorted(sizes)
    assert counts[0] == max(sizes)  # train has the largest


def test_seeds_give_different_splits():
    one = table([0, 1] * 50)
    assert set(split(one, seed=0).test) != set(split(one, seed=1).test)


def test_a_given_split_is_taken_as_it_is_and_lends_val_from_train():
    splits = ["test"] * 10 + ["train"] * 40
    one = table([0, 1] * 25, splits=splits)
    parts = split(one, seed=0)
    assert parts.test.tolist() == list(range(10))
    assert len(parts.val) == 6  # 15 % of 40
    assert Counter(one.labels[parts.val]) == {0: 3, 1: 3}


def test_val_is_lent_by_whole_groups():
    groups = [f"p{number // 4}" for number in range(80)]
    one = table([number // 40 for number in range(80)], groups, ["test", "train", "train", "train"] * 20)
    parts = split(one, seed=0)
    assert not {groups[case] for case in parts.val} & {groups[case] for case in parts.train}
    # 15 % of 30 training images is 4.5 per class, in units of 3 images: 3 or 6
    assert all((one.labels[parts.val] == label).sum() in (3, 6) for label in (0, 1))


def test_a_given_split_that_lacks_a_class_or_test_is_refused():
    with pytest.raises(DataError, match="class '1' has 2 images: the split gives none in test"):
        split(table([0] * 20 + [1] * 2, splits=["test", "train"] * 10 + ["train"] * 2), seed=0)
    with pytest.raises(DataError, match="its split has no 'test' images"):
        split(table([0, 1] * 10, splits=["train"] * 20), seed=0)


def test_a_class_too_small_for_three_splits_is_refused():
    with pytest.raises(
        DataError, match=r"class '1' has 2 images: cannot appear in train, val and test: none in"
    ):
        split(table([0] * 30 + [1] * 2), seed=0)


def test_a_class_of_one_patient_is_refused():
    with pytest.raises(
        DataError, match="class '1' has 9 images in 1 group: cannot appear in train, val and test"
    ):
        split(table([0] * 30 + [1] * 9, [f"p{n}" for n in range(30)] + ["q"] * 9), seed=0)


@given(
    st.lists(st.integers(0, 3), min_size=8, max_size=80),
    st.floats(0.01, 1),
    st.floats(0.01, 1),
    st.integers(0, 9),
)
@settings(max_examples=60, deadline=None)
def test_a_smaller_fraction_lies_inside_a_larger_one(labels, first, second, seed):
    one = table([0, 1, 2, 3, *labels])
    train = np.arange(len(one))
    small, large = (part(train, one, fraction=f, seed=seed) for f in sorted((first, second)))
    assert set(small) <= set(large)
    assert {one.labels[case] for case in small} == {0, 1, 2, 3}


def test_a_fraction_is_rounded_up_per_class():
    one = table([0] * 25 + [1] * 8)  # ceil(2.5) = 3 and ceil(0.8) = 1
    taken = part(np.arange(33), one, fraction=0.1, seed=0)
    assert Counter(one.labels[taken].tolist()) == {0: 3, 1: 1}
    assert part(np.arange(33), one, fraction=1.0, seed=0).tolist() == list(range(33))
    # 0.07 * 100 is 7.000000000000001 in floating point: still seven images
    hundred = table([0] * 100 + [1] * 100)
    assert len(part(np.arange(200), hundred, fraction=0.07, seed=0)) == 14


def test_a_subset_does_not_depend_on_the_order_of_cases():
    one = table([0, 1] * 50)
    backwards = Table(name="t", classes=one.classes, case_ids=one.case_ids[::-1], labels=one.labels[::-1])
    mine, theirs = (part(np.arange(100), t, fraction=0.2, seed=1) for t in (one, backwards))
    assert {one.case_ids[case] for case in mine} == {backwards.case_ids[case] for case in theirs}


def test_seeds_choose_different_subsets():
    one = table([0, 1] * 50)
    assert set(part(np.arange(100), one, fraction=0.1, seed=0)) != set(
        part(np.arange(100), one, fraction=0.1, seed=1)
    )


def test_images_of_equal_pixels_stay_together_whatever_their_groups():
    one = table([0, 1] * 40, [f"p{n}" for n in range(80)])
    pixels = [number // 4 for number in range(80)]  # four by four the same, over two classes
    for seed in range(3):
        parts = split(one, seed=seed, pixels=pixels)
        for side in SIDES:
            assert all(
                count == 4 for count in Counter(number // 4 for number in getattr(parts, side)).values()
            )


def test_a_chain_of_groups_and_equal_pixels_is_one_unit():
    # 0 and 1 share a patient, 1 and 2 share their pixels, 2 and 3 share another patient
    one = table([0, 0, 1, 1, 0], ["a", "a", "b", "b", "c"])
    assert find_units(one, prints([0, 1, 1, 2, 3]), similar=None).tolist() == [0, 0, 0, 0, 1]


def test_grouped_draws_anew_where_the_source_has_a_split():
    splits = ["train"] * 60 + ["val"] * 20 + ["test"] * 20
    one = table([0, 1] * 50, splits=splits)
    assert split(one, seed=0, how="auto").sides.tolist() == splits
    assert split(one, seed=0, how="official").sides.tolist() == splits
    parts = split(one, seed=0, how="grouped")
    assert [len(getattr(parts, side)) for side in SIDES] == [70, 15, 15] or len(parts.test) in (14, 15, 16)
    assert parts.sides.tolist() != splits


def test_what_a_table_does_not_have_is_refused():
    one = table([0, 1] * 20)
    with pytest.raises(DataError, match="split='official', but its source has no split"):
        resolve_split(one, "official")
    with pytest.raises(DataError, match=r"split='paper', but the paper does not use it; it uses .*ham10000"):
        resolve_split(one, "paper")


def test_a_split_by_image_has_the_sizes_asked_for_and_tears_patients_apart():
    one = table([0] * 700 + [1] * 300, [f"p{number // 2}" for number in range(1000)])
    sides = draw_by_image(one, paper=None, seed=0)
    assert Counter(sides.tolist()) == {"train": 700, "val": 150, "test": 150}
    assert Counter(one.labels[sides == "test"].tolist()) == {0: 105, 1: 45}
    units = find_units(one, prints(list(range(1000))), similar=None)
    # the other image of a test image's patient is in train with probability 700 / 999
    shared = len(leaks(units, sides, between=("train", "test"))) / 150
    assert abs(shared - 700 / 999) < 4 * (0.7 * 0.3 / 150) ** 0.5


def test_an_image_that_the_paper_left_out_is_on_no_side():
    paper = PaperSplit(
        train=6, sizes=lambda n: (int(0.6 * n), int(0.2 * n)), leaves_out=lambda t: t.labels == 2
    )
    one = table([0, 1] * 5 + [2])
    sides = draw_by_image(one, paper=paper, seed=0)
    assert Counter(sides.tolist()) == {"train": 6, "val": 2, "test": 2, "": 1}
    assert sides[10] == ""


@pytest.mark.parametrize(
    ("name", "images", "train", "test"),
    [  # shared by the published train counts and the test sizes behind them: docs/protocol.md
        ("ham10000", 10_015, 7_511, 1_001),
        ("smdg", 12_316, 9_852, 1_232),
        ("rsna", 26_684, 20_412, 2_269),
        ("breastus", 779, 584, 77),
        ("fitzpatrick17k", 16_012, 12_009, 1_601),  # the paper prints 5,809
    ],
)
def test_the_paper_s_counts_follow_from_its_rules(name, images, train, test):
    paper = DATASETS[name].paper_split
    assert paper.sizes(images) == (train, test)
    assert paper.train == (5_809 if name == "fitzpatrick17k" else train)
