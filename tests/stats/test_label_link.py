"""Labels that may correspond, and the test whether they do."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tests.builders import examples
from unveil.stats import class_sums, label_link
from unveil.stats.correspondence import MIN_CLASSES, correspondences, last_number, name_of, natural_order
from unveil.stats.label_link import class_means, link_test, similar_classes
from unveil.types import Floats


def drawn(k: int, link: float, rng: np.random.Generator, d: int = 24) -> tuple[Floats, Floats]:
    """Class means of both sets; a synthetic class has ``link`` of its training class in it."""
    training = rng.normal(size=(k, d))
    return link * training + rng.normal(size=(k, d)), training


def by_loops(synthetic: Floats, training: Floats) -> tuple[Floats, list[int]]:
    """The standardised similarities (K, K) and the ranks, one number at a time."""
    n = len(synthetic)
    made = [row - sum(synthetic) / n for row in synthetic]
    real = [row - sum(training) / n for row in training]
    cosine = [[float(a @ b) / float(np.sqrt(a @ a) * np.sqrt(b @ b)) for b in real] for a in made]
    for j in range(n):
        mean = sum(cosine[i][j] for i in range(n)) / n
        for i in range(n):
            cosine[i][j] -= mean
    for i in range(n):
        mean = sum(cosine[i]) / n
        deviation = (sum((x - mean) ** 2 for x in cosine[i]) / n) ** 0.5
        cosine[i] = [(x - mean) / deviation for x in cosine[i]]
    return np.array(cosine), [sum(cosine[i][j] >= cosine[i][i] - 1e-9 for j in range(n)) for i in range(n)]


@pytest.mark.parametrize("k", [5, 7, 8])
def test_few_classes_are_tested_by_every_arrangement(k: int) -> None:
    rng = np.random.default_rng(k)
    synthetic, training = drawn(k, 0.5, rng)
    excess, ranks = by_loops(synthetic, training)
    every = [sum(excess[i, j] for i, j in enumerate(order)) for order in permutations(range(k))]
    test = link_test(synthetic.copy(), training.copy(), rng)
    assert test.exact and test.n_arrangements == len(every)
    assert test.p_value == pytest.approx(sum(total >= every[0] - 1e-9 for total in every) / len(every))
    assert test.rank.tolist() == ranks and test.p.tolist() == [rank / k for rank in ranks]


def test_many_classes_agree_with_loops_over_arrangements(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of one group each give the ranks of the whole matrix; arrangements stay inside the groups."""
    monkeypatch.setattr(label_link, "PRODUCTS", 64)
    rng = np.random.default_rng(3)
    synthetic, training = drawn(70, 0.05, rng)
    excess, ranks = by_loops(synthetic, training)
    test = link_test(synthetic.copy(), training.copy(), np.random.default_rng(0))
    assert test.rank.tolist() == ranks and not test.exact
    centred = training - training.mean(axis=0)
    groups = similar_classes(centred / np.linalg.norm(centred, axis=1, keepdims=True))
    assert sorted(np.concatenate(groups).tolist()) == list(range(70)) and max(len(g) for g in groups) <= 20
    totals = []
    for _ in range(2000):
        order = np.arange(70)
        for group in groups:
            order[group] = rng.permutation(group)
        totals.append(sum(excess[i, order[i]] for i in range(70)))
    slow = (1 + sum(total >= np.trace(excess) for total in totals)) / 2001
    assert 0.0005 < slow < 0.9
    assert test.p_value == pytest.approx(slow, abs=4 * np.sqrt(slow * (1 - slow) / 2000))


def test_p_is_uniform_over_a_thousand_permutations_of_the_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets that are linked, with the labels of one of them permuted: of the set and of each class."""
    monkeypatch.setattr(label_link, "N_ARRANGEMENTS", 199)
    rng = np.random.default_rng(11)
    synthetic, training = drawn(40, 1.0, rng)
    tests = [link_test(synthetic[rng.permutation(40)], training.copy(), rng) for _ in range(1000)]
    p = np.array([test.p_value for test in tests])
    assert stats.kstest(p, "uniform").pvalue > 0.01
    for level in (0.01, 0.05, 0.1):
        assert stats.binomtest(int((p <= level).sum()), 1000, level).pvalue > 0.001
    first = sum(int(test.rank[0] == 1) for test in tests)
    assert stats.binomtest(first, 1000, 1 / 40).pvalue > 0.001


def test_of_very_many_classes_low_ranks_are_exact_and_others_estimates(monkeypatch: pytest.MonkeyPatch) -> None:
    synthetic, training = drawn(900, 0.15, np.random.default_rng(4))
    exact = link_test(synthetic.copy(), training.copy(), np.random.default_rng(0)).rank
    monkeypatch.setattr(label_link, "RANKED_ROWS", 200)
    monkeypatch.setattr(label_link, "RANKED", 100)
    rank = link_test(synthetic.copy(), training.copy(), np.random.default_rng(0)).rank
    low = exact <= 100
    assert 100 < low.sum() < 800 and (rank[low] == exact[low]).all()
    assert (rank[~low] > 100).all() and (rank[~low] <= 900).all() and (rank[~low] != exact[~low]).any()
    assert np.abs(rank[~low] / exact[~low] - 1).mean() < 0.08


def test_p_of_classes_is_valid_where_ranks_are_estimates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Classes whose own similarity is any one of theirs: the share of p <= x is at most x, and close to it."""
    monkeypatch.setattr(label_link, "RANKED_ROWS", 16)
    monkeypatch.setattr(label_link, "RANKED", 5)
    rng, n = np.random.default_rng(8), 120
    p = []
    for _ in range(400):
        similarity = rng.normal(size=(n, 1))
        p.append(label_link._ranks(np.ones((n, 1)), similarity, similarity[:, 0], rng) / n)
    for level in (1 / n, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8):
        share = np.mean(np.array(p) <= level, axis=1)
        error = share.std() / np.sqrt(len(share))
        assert share.mean() <= level + 3 * error and share.mean() > level - 1 / n - 0.1 * level, level


def plain_groups(means: Floats) -> list[list[int]]:
    """`similar_classes` in whole products, one group after the other."""
    done, larger = [], [np.arange(len(means))]
    while larger:
        group = larger.pop()
        if len(group) <= label_link.MAX_GROUP:
            done.append(group.tolist())
            continue
        points = means[group] - means[group].mean(axis=0)
        direction = points[np.square(points).sum(axis=1).argmax()]
        for _ in range(label_link.ROUNDS):
            direction = points.T @ (points @ direction)
            direction = direction / max(float(np.linalg.norm(direction)), label_link.TOLERANCE)
        inside = points @ direction > np.median(points @ direction)
        for _ in range(label_link.ROUNDS):
            if inside.all() or not inside.any():
                break
            middle, other = points[inside].mean(axis=0), points[~inside].mean(axis=0)
            before, inside = inside, points @ (middle - other) > (middle @ middle - other @ other) / 2
            if (before == inside).all():
                break
        if inside.all() or not inside.any():
            inside = np.arange(len(group)) < len(group) // 2
        larger += [group[inside], group[~inside]]
    return sorted(done)


@pytest.mark.parametrize("cached", [1, 70, label_link.CACHED])
def test_groups_are_those_of_whole_products(cached: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of random classes and of hostile ones: far apart, few directions, all equal, none but zero."""
    monkeypatch.setattr(label_link, "CACHED", cached)
    rng = np.random.default_rng(5)
    random = rng.normal(size=(130, 12))
    clusters = random * 0.01 + np.repeat(np.eye(12)[:5], 26, axis=0)
    flat = rng.normal(size=(90, 1)) @ rng.normal(size=(1, 12))
    for means in (random, clusters, flat, random[:, :1], np.ones((45, 3)), np.zeros((41, 2))):
        assert [group.tolist() for group in similar_classes(means)] == plain_groups(means)


def test_the_compiled_library_gives_the_same_p_value(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)
    made, real = drawn(45, 0.3, rng)
    by_library = link_test(made.copy(), real.copy(), np.random.default_rng(8))
    monkeypatch.setattr(label_link, "add_arranged", lambda *_: False)
    by_numpy = link_test(made, real, np.random.default_rng(8))
    assert by_library.p_value == by_numpy.p_value and (by_library.rank == by_numpy.rank).all()


def test_arrangements_are_those_of_single_bytes() -> None:
    """Only their speed depends on the size of the numbers that are exchanged."""
    wide, narrow = np.random.default_rng(6), np.random.default_rng(6)
    places = label_link._arrangements(17, False, wide)
    assert (places == narrow.permuted(np.tile(np.arange(17, dtype=np.uint8), (len(places), 1)), axis=1)).all()
    assert wide.random() == narrow.random()


@pytest.mark.parametrize("k", [9, 30, 200])
def test_linked_classes_are_found(k: int) -> None:
    rng = np.random.default_rng(k)
    test = link_test(*drawn(k, 1.0, rng), rng)
    assert test.p_value < 0.001 and (test.rank == 1).mean() > 0.4


def test_labels_that_tell_a_group_but_not_the_class_are_no_link(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sets are sorted by three groups that look different. Without groups of look-alikes, every p is small."""
    monkeypatch.setattr(label_link, "N_ARRANGEMENTS", 199)
    rng = np.random.default_rng(5)

    def p_values() -> Floats:
        found = []
        for _ in range(60):
            centre, group = 1.2 * rng.normal(size=(3, 24)), np.sort(rng.integers(0, 3, 90))
            sides = centre[group] + rng.normal(size=(2, 90, 24))
            found.append(link_test(sides[0], sides[1], rng).p_value)
        return np.array(found)

    assert (p_values() <= 0.05).mean() < 0.15
    monkeypatch.setattr(label_link, "MAX_GROUP", 1000)
    assert (p_values() <= 0.05).mean() > 0.9


def test_classes_that_are_all_alike_link_nothing() -> None:
    same = np.ones((12, 4))
    test = link_test(same.copy(), same.copy(), np.random.default_rng(0))
    assert test.p_value == 1.0 and set(test.rank.tolist()) == {12}
    with pytest.raises(ValueError, match="at least two"):
        link_test(same[:1], same[:1], np.random.default_rng(0))
    with pytest.raises(ValueError, match="3 training"):
        link_test(same, same[:3], np.random.default_rng(0))


def test_class_means_are_summed_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_sums, "BLOCK", 7)
    rng = np.random.default_rng(0)
    vectors, codes = rng.normal(size=(50, 3)).astype(np.float32), rng.integers(-1, 6, 50)
    slow = [np.mean([v.astype(float) for v, c in zip(vectors, codes, strict=True) if c == k], axis=0) for k in range(6)]
    assert np.allclose(class_means(vectors, codes, 6), slow)


def test_many_classes_need_little_memory() -> None:
    """3,000 classes: far less than their 3,000 x 3,000 similarities at a time."""
    import tracemalloc

    rng = np.random.default_rng(0)
    synthetic, training = drawn(3000, 1.0, rng)
    tracemalloc.start()
    test = link_test(synthetic, training, rng)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert test.p_value < 0.001 and peak < 0.8 * 8 * 3000**2


# Correspondences


def pairs_of(synthetic: list[str], training: list[str]) -> dict[str, dict[str, str]]:
    return {c.name: dict(c.pairs) for c in correspondences(synthetic, training) if c.pairs}


def reasons_of(synthetic: list[str], training: list[str]) -> dict[str, str]:
    return {c.name: c.reason for c in correspondences(synthetic, training) if c.reason}


def test_labels_correspond_by_name_number_and_order() -> None:
    numbers = [str(i) for i in range(12)]
    padded = [f"train/ID_{i:06d}" for i in range(12)]
    found = pairs_of(numbers, padded)
    assert found == {"numbers in names": dict(zip(numbers, padded, strict=True))}
    assert reasons_of(numbers, padded) == {
        "equal names": "no label corresponds; at least 5 are needed",
        "order of names": "it gives the same pairs as numbers in names",
    }
    # Counted from 1 on one side: numbers and order differ, so both are tried.
    shifted = pairs_of(numbers, [str(i + 1) for i in range(12)])
    assert shifted["equal names"]["5"] == "5" and len(shifted["equal names"]) == 11
    assert shifted["order of names"]["5"] == "6" and "numbers in names" not in shifted
    # Names against numbers: only the order is left.
    people = [f"person {c}" for c in "abcdefghijkl"]
    assert pairs_of(numbers, people) == {"order of names": dict(zip(numbers, people, strict=True))}
    assert reasons_of(numbers[:-1], people)["order of names"] == "there are 11 synthetic and 12 training labels"
    assert correspondences(numbers, people)[-1].pairs[2] == ("2", "person c")


def test_hostile_labels_are_refused_or_read() -> None:
    arabic = ["٠", "١", "٢", "٣", "٤", "٥"]
    assert pairs_of(arabic, [f"{i:03d}" for i in range(6)])["numbers in names"]["٣"] == "003"
    assert pairs_of([f"ＩＤ{i}" for i in range(6)], [f"id{i}" for i in range(6)])["equal names"]["ＩＤ2"] == "id2"
    huge = ["9" * 4000 + str(i) for i in range(6)]
    assert pairs_of(huge, ["id_" + h for h in huge])["numbers in names"][huge[1]] == "id_" + huge[1]
    assert natural_order("a" + huge[0]) < natural_order("a" + huge[1]) < natural_order("a1" + huge[0])
    assert last_number("x²") == "2" and last_number("³/none") is None and name_of(" A/b/ ") == "b"

    plain = [str(i) for i in range(8)]
    twice = [*plain[:-1], "03"]
    assert reasons_of(twice, plain)["numbers in names"] == "two synthetic labels have the same number"
    assert reasons_of(plain, [*plain[:-1], "x/3"]) == {
        **dict.fromkeys(["equal names"], "two training labels have the same name"),
        **dict.fromkeys(["numbers in names"], "two training labels have the same number"),
        **dict.fromkeys(["order of names"], "two training labels sort alike"),
    }
    (ambiguous,) = (c.ambiguous for c in correspondences(twice, plain) if c.name == "numbers in names")
    assert ambiguous == ("3", "03")
    assert all(c.reason for c in correspondences([], plain))
    assert all(c.reason for c in correspondences(["", " ", "/", "\x00", "-"], plain))
    assert reasons_of(plain[:4], plain[:4])["equal names"] == "only 4 labels correspond; at least 5 are needed"


def test_a_label_map_is_the_only_correspondence() -> None:
    synthetic, training = [f"s{i}" for i in range(9)], [f"p{i}" for i in range(9)]
    mapped = tuple((f"s{i}", f"p{8 - i}") for i in range(9))
    (found,) = correspondences(synthetic, training, (*mapped, ("gone", "p1"), ("s1", "gone")))
    assert found.name == "label map" and set(found.pairs) == set(mapped)
    (few,) = correspondences(synthetic, training, mapped[:4])
    assert few.pairs == () and few.reason == "only 4 labels correspond; at least 5 are needed"


@examples(60)
@given(st.lists(st.text(max_size=6), max_size=12), st.lists(st.text(max_size=6), max_size=12))
def test_correspondences_are_one_to_one_whatever_the_labels(synthetic: list[str], training: list[str]) -> None:
    tested = [c for c in correspondences(synthetic, training) if c.pairs]
    for c in tested:
        made, real = [a for a, _ in c.pairs], [b for _, b in c.pairs]
        assert len(set(made)) == len(made) >= MIN_CLASSES and set(made) <= set(synthetic)
        assert len(set(real)) == len(real) and set(real) <= set(training)
    assert len({frozenset(c.pairs) for c in tested}) == len(tested)


def by_dictionary(synthetic: list[str], training: list[str], key_of: Callable[[str], str | None]) -> object:
    """The pairs of labels with equal keys, or the first two labels of one set that share a key."""
    known: list[dict[str, str]] = []
    for labels in (synthetic, training):
        of_key: dict[str, str] = {}
        for label in dict.fromkeys(labels):
            key = key_of(label)
            if key and key in of_key:
                return of_key[key], label
            if key:
                of_key[key] = label
        known.append(of_key)
    return {label: known[1][key] for key, label in known[0].items() if key in known[1]}


LABELS = st.lists(
    st.sampled_from(["a", "A", "b/a", "1", "01", "x2", "2", "c", "", "d", "e", "f", "g", "h"]), max_size=14
)


@examples(150)
@given(LABELS, LABELS)
def test_labels_in_columns_correspond_as_those_in_dictionaries(synthetic: list[str], training: list[str]) -> None:
    by_name, by_number, _ = correspondences(synthetic, training)
    for found, key_of in ((by_name, name_of), (by_number, last_number)):
        expected = by_dictionary(synthetic, training, key_of)
        if isinstance(expected, tuple):
            assert found.ambiguous == expected and not found.pairs
        elif found.pairs:
            assert dict(found.pairs) == expected
        else:
            assert len(expected) < MIN_CLASSES or "same pairs" in found.reason  # type: ignore[arg-type]
