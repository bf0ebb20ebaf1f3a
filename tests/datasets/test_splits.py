"""Splits without leakage, whatever the order of files; nested fractions."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raypeft.core.errors import DataError
from raypeft.datasets import Table, split_table, subset

SIDES = ("train", "val", "test")


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
    split = split_table(one, seed=seed)
    assert sorted([*split.train, *split.val, *split.test]) == list(range(len(one)))
    for label, size in enumerate(sizes):
        for side, share in zip(SIDES, (0.70, 0.15, 0.15), strict=True):
            count = (one.labels[getattr(split, side)] == label).sum()
            assert abs(count - share * size) <= 1


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 4)), min_size=30, max_size=60), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_a_group_never_straddles_and_shares_are_near(patients, seed):
    labels = [label for label, size in patients for _ in range(size)] + [0] * 12 + [1] * 12
    groups = [f"p{n}" for n, (_, size) in enumerate(patients) for _ in range(size)]
    groups += [f"extra{n}" for n in range(24)]
    one = table(labels, groups)
    split = split_table(one, seed=seed)
    sides = [{groups[case] for case in getattr(split, side)} for side in SIDES]
    assert len(sides[0] | sides[1] | sides[2]) == sum(len(side) for side in sides)
    for label in (0, 1):
        size = labels.count(label)
        assert abs((one.labels[split.test] == label).sum() - 0.15 * size) <= 2


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
        mine = {one.case_ids[case] for case in getattr(split_table(one, seed=3), side)}
        theirs = {other.case_ids[case] for case in getattr(split_table(other, seed=3), side)}
        assert mine == theirs


def test_the_size_of_a_group_does_not_decide_where_it_goes():
    # 200 patients with 1 image and 100 with 4: 2 images per patient on average, on every side.
    groups = [f"one{n}" for n in range(200)] + [f"four{n}" for n in range(100) for _ in range(4)]
    one = table([0, 1] * 300, groups)
    for seed in range(3):
        split = split_table(one, seed=seed)
        for side in SIDES:
            cases = getattr(split, side)
            assert 1.5 < len(cases) / len({groups[case] for case in cases}) < 2.5


@pytest.mark.parametrize("sizes", [(1, 1, 1), (10, 1, 1), (5, 4, 3), (1, 1, 40)])
def test_three_groups_are_enough_for_a_class(sizes):
    groups = [f"p{n}" for n in range(30)] + [f"q{n}" for n, size in enumerate(sizes) for _ in range(size)]
    one = table([0] * 30 + [1] * sum(sizes), groups)
    split = split_table(one, seed=0)
    counts = [int((one.labels[getattr(split, side)] == 1).sum()) for side in SIDES]
    assert sorted(counts) == sorted(sizes)
    assert counts[0] == max(sizes)  # train has the largest


def test_seeds_give_different_splits():
    one = table([0, 1] * 50)
    assert set(split_table(one, seed=0).test) != set(split_table(one, seed=1).test)


def test_a_given_split_is_taken_as_it_is_and_lends_val_from_train():
    splits = ["test"] * 10 + ["train"] * 40
    one = table([0, 1] * 25, splits=splits)
    split = split_table(one, seed=0)
    assert split.test.tolist() == list(range(10))
    assert len(split.val) == 6  # 15 % of 40
    assert Counter(one.labels[split.val]) == {0: 3, 1: 3}


def test_val_is_lent_by_whole_groups():
    groups = [f"p{number // 4}" for number in range(80)]
    one = table([number // 40 for number in range(80)], groups, ["test", "train", "train", "train"] * 20)
    split = split_table(one, seed=0)
    assert not {groups[case] for case in split.val} & {groups[case] for case in split.train}
    # 15 % of 30 training images is 4.5 per class, in units of 3 images: 3 or 6
    assert all((one.labels[split.val] == label).sum() in (3, 6) for label in (0, 1))


def test_a_given_split_that_lacks_a_class_or_test_is_refused():
    with pytest.raises(DataError, match="class '1' has 2 images: the split column gives none in test"):
        split_table(table([0] * 20 + [1] * 2, splits=["test", "train"] * 10 + ["train"] * 2), seed=0)
    with pytest.raises(DataError, match="its split column has no 'test' rows"):
        split_table(table([0, 1] * 10, splits=["train"] * 20), seed=0)


def test_a_class_too_small_for_three_splits_is_refused():
    with pytest.raises(
        DataError, match=r"class '1' has 2 images: cannot appear in train, val and test: none in"
    ):
        split_table(table([0] * 30 + [1] * 2), seed=0)


def test_a_class_of_one_patient_is_refused():
    with pytest.raises(
        DataError, match="class '1' has 9 images in 1 group: cannot appear in train, val and test"
    ):
        split_table(table([0] * 30 + [1] * 9, [f"p{n}" for n in range(30)] + ["q"] * 9), seed=0)


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
    small, large = (subset(train, one, fraction=f, seed=seed) for f in sorted((first, second)))
    assert set(small) <= set(large)
    assert {one.labels[case] for case in small} == {0, 1, 2, 3}


def test_a_fraction_is_rounded_up_per_class():
    one = table([0] * 25 + [1] * 8)  # ceil(2.5) = 3 and ceil(0.8) = 1
    taken = subset(np.arange(33), one, fraction=0.1, seed=0)
    assert Counter(one.labels[taken].tolist()) == {0: 3, 1: 1}
    assert subset(np.arange(33), one, fraction=1.0, seed=0).tolist() == list(range(33))
    # 0.07 * 100 is 7.000000000000001 in floating point: still seven images
    hundred = table([0] * 100 + [1] * 100)
    assert len(subset(np.arange(200), hundred, fraction=0.07, seed=0)) == 14


def test_a_subset_does_not_depend_on_the_order_of_cases():
    one = table([0, 1] * 50)
    backwards = Table(name="t", classes=one.classes, case_ids=one.case_ids[::-1], labels=one.labels[::-1])
    mine, theirs = (subset(np.arange(100), t, fraction=0.2, seed=1) for t in (one, backwards))
    assert {one.case_ids[case] for case in mine} == {backwards.case_ids[case] for case in theirs}


def test_seeds_choose_different_subsets():
    one = table([0, 1] * 50)
    assert set(subset(np.arange(100), one, fraction=0.1, seed=0)) != set(
        subset(np.arange(100), one, fraction=0.1, seed=1)
    )
