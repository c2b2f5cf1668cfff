"""The numbers of four small audits stay what they were when they were recorded in tests/golden.

A change that is meant to move numbers records them again: `pytest tests/test_golden.py --write-golden`. The keys in the
files are independent of the names in the code, so that a renaming of the code leaves the files alone. On other
processors the models may round differently, which can exceed the tolerances below.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unveil
from tests.builders import audit, encoded, unit_rows, write
from tests.channels.test_similarity import tiny_model
from unveil.demo.world import World
from unveil.results import Membership, PairFinding, PairKind, Power
from unveil.stats.leak_kinds import CopyThresholds
from unveil.stats.membership import roc
from unveil.types import Estimate

GOLDEN = Path(__file__).parent / "golden"
AUDITS = ("control", "no_control", "two_models", "embeddings")

P_VALUES = {"p", "q", "p_gpd", "q_gpd", "p_cosine", "q_cosine", "global_p", "fit_p", "smallest_p"}
P_VALUES |= {"largest_p", "largest_p_gpd"}
# What the files hold as tables, and what names a row of each.
TABLES = {
    "people": ("person",),
    "identities": ("identity",),
    "top_pairs": ("synthetic_id", "training_id"),
    "top_pairs_corrected": ("synthetic_id", "training_id"),
}


def estimate(e: Estimate | None) -> dict[str, Any] | None:
    return None if e is None else {"value": e.value, "low": e.low, "high": e.high, "level": e.level, "n": e.n}


def kind(found: PairKind | None) -> list[Any] | None:
    """The kind of leak, and the similarity of the two images: correlation, detail, bits, copy cosine, identical."""
    if found is None:
        return None
    alike = found.similarity
    return [found.kind, alike.correlation, alike.detail, alike.bits, alike.copy_cosine, alike.identical]


def copy_thresholds(found: CopyThresholds | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "correlation": found.correlation,
        "detail": found.detail,
        "bits": found.bits,
        "copy_cosine": found.copy_cosine,
        "n_mated": found.n_mated,
        "calibrated": found.calibrated,
        "false_copies": estimate(found.false_copy_rate),
    }


def people(result: unveil.AuditResult) -> list[dict[str, Any]]:
    return [
        {
            "person": p.person,
            "score": p.score,
            "cosine": p.cosine,
            "synthetic_id": p.synthetic_id,
            "training_id": p.training_id,
            "n_images": p.n_images,
            "channel": p.channel,
            "p": p.p,
            "q": p.q,
            "p_gpd": p.p_gpd,
            "q_gpd": p.q_gpd,
            "significant_by": list(p.significant_by),
            "p_cosine": p.p_cosine,
            "q_cosine": p.q_cosine,
            "resamples_significant": p.resamples_significant,
            "by_model": [[v.model, v.cosine, v.p] for v in p.models],
            "by_channel": [[v.channel, v.score, v.cosine, v.p, v.q, v.synthetic_id, v.training_id] for v in p.channels],
            "kind": kind(p.kind),
        }
        for p in result.people
    ]


def pairs(found: tuple[PairFinding, ...]) -> list[dict[str, Any]]:
    return [
        {
            "rank": p.rank,
            "synthetic_id": p.synthetic_id,
            "training_id": p.training_id,
            "person": p.person,
            "cosine": p.cosine,
            "score": p.score,
            "channel": p.channel,
            "kind": kind(p.kind),
        }
        for p in found
    ]


def membership(found: Membership) -> dict[str, Any]:
    return {
        "score": found.score,
        "auc": estimate(found.auc),
        "tpr_at_fpr": {fpr: estimate(tpr) for fpr, tpr in found.tpr_at_fpr.items()},
        "global_p": found.global_p,
        "significant_conformal": found.significant_conformal,
        "significant_gpd": found.significant_gpd,
    }


def calibration(result: unveil.AuditResult) -> dict[str, Any] | None:
    test, limit, competition, balance = (
        *(result.global_test, result.detection_limit, result.identity_competition, result.balance),
    )
    if result.exposures is None:
        assert (test, limit, competition, balance) == (None, None, None, None)
        return None
    assert test is not None and limit is not None and competition is not None and balance is not None
    assert result.stability is not None
    training, control, tail, stability = (
        *(result.exposures.training, result.exposures.control, limit.tail, result.stability),
    )
    return {
        "exposed_people": estimate(result.exposed_people),
        "global_test": {
            "p": test.p_value,
            "top": test.top,
            "training_in_top": test.training_in_top,
            "n_training": test.n_training,
            "n_control": test.n_control,
            "smallest_p": test.smallest_p,
        },
        "gpd": None
        if tail is None
        else {
            "threshold": tail.threshold,
            "n_exceedances": tail.n_exceedances,
            "n_controls": tail.n_controls,
            "shape": tail.shape,
            "scale": tail.scale,
            "fit_p": tail.fit_p,
            "smallest_p": tail.smallest_p,
        },
        "competition": {
            "target_wins": competition.target_wins,
            "decoy_wins": competition.decoy_wins,
            "ratio": competition.ratio,
            "min_significant": limit.min_identities,
        },
        "membership": [membership(m) for m in result.membership or ()],
        "min_people_conformal": limit.min_people_conformal,
        "chance_share": limit.chance_share,
        "smallest_p": limit.smallest_p_conformal,
        "control": [[name, float(score)] for name, score in sorted(zip(control.people, control.score, strict=True))],
        "roc": [[len(axis), float(axis.sum())] for axis in roc(training.score, control.score)],
        "balance": {
            "prognostic_shift": estimate(balance.prognostic_shift),
            "prognostic_shift_before": estimate(balance.prognostic_shift_before),
            "classifier_auc": estimate(balance.classifier_auc),
            "image_quality": [[name, estimate(e)] for name, e in balance.image_quality.items()],
            "strata": list(balance.strata),
            "training_people": balance.training_people,
            "training_not_tested": balance.training_not_tested,
            "control_not_used": balance.control_not_used,
        },
        "strata": [
            {"name": s.name, "n_control": s.n_control, "significant": estimate(s.significant)}
            for s in result.strata or ()
        ],
        "stability": {
            "resamples": stability.resamples,
            "people_significant": list(stability.people_significant),
            "identities_significant": list(stability.identities_significant),
            "leak_found": stability.leak_found,
        },
        "false_matches": [
            {
                "cosine": a.cosine,
                "false_match_rate": estimate(a.false_match_rate),
                "expected": estimate(a.expected),
                "observed": a.observed,
                "saturated": a.saturated,
                "observed_people": a.observed_people,
                "max_pairs_per_training_image": a.max_pairs_per_training_image,
            }
            for a in result.false_matches or ()
        ],
    }


def planted(power: Power | None) -> dict[str, Any] | None:
    if power is None:
        return None
    thresholds = {"one_leak": power.threshold_one_leak, "many_leaks": power.threshold_many_leaks}
    return {
        "n_people": power.n_people,
        "lowest_score": power.lowest_score,
        "thresholds": {
            name: {"n_leaks": t.n_leaks, "largest_p": t.largest_p, "largest_p_gpd": t.largest_p_gpd}
            for name, t in thresholds.items()
        },
        "recalls": [
            {
                "kind": r.kind,
                "strength": r.strength,
                "one_leak": estimate(r.one_leak),
                "many_leaks": estimate(r.many_leaks),
                "not_detected": r.not_detected,
            }
            for r in power.recalls
        ],
        "strongest_found": [[change, strength] for change, strength in power.strongest_found.items()],
    }


def numbers(result: unveil.AuditResult) -> dict[str, Any]:
    """Every number and finding of a result under the keys of the files; no sentences, paths or versions."""
    statement = result.no_control
    return {
        "verdict": result.verdict,
        "evidence": list(result.evidence),
        "counts": {
            role: {
                "images": n.images,
                "embedded": n.embedded,
                "rejected": n.rejected,
                "people": n.people,
                "unlabelled": n.unlabelled,
                "repeats": n.repeats,
                "several_faces": n.several_faces,
            }
            for role, n in result.counts.items()
        },
        "pairs_compared": result.pairs_compared,
        "control_pairs_compared": result.control_pairs_compared,
        "channels": list(result.channels),
        "models": [model["name"] for model in result.models],
        "calibration": calibration(result),
        "no_control": None
        if statement is None
        else {
            "n_searches": statement.n_searches,
            "unit": statement.unit,
            "n_units": statement.n_units,
            "crowd_test": [statement.crowd_test.people, statement.crowd_test.share, statement.crowd_test.p_value],
            "smallest_p": statement.smallest_p,
            "smallest_p_gpd": statement.smallest_p_gpd,
            "below_median": estimate(statement.below_median),
            "shifts": [
                [shift.channel, estimate(shift.location), shift.spread_ratio, shift.correction, shift.factor]
                for shift in statement.shifts
            ],
        },
        "improbable_pairs": [
            [pair.synthetic_id, pair.training_id, pair.cosine, pair.expected] for pair in result.improbable_pairs
        ],
        "people": people(result),
        "identities": [
            {
                "identity": i.identity,
                "score": i.score,
                "q": i.q,
                "n_images": i.n_images,
                "synthetic_id": i.synthetic_id,
                "training_id": i.training_id,
                "channel": i.channel,
                "significant": i.significant,
                "duplicate_of": i.duplicate_of,
            }
            for i in result.synthetic_identities[:200]
        ],
        "top_pairs": pairs(result.top_pairs),
        "top_pairs_corrected": pairs(result.top_pairs_corrected),
        "hubness": [[h.training_id, h.person, h.n_best_match_of, h.in_top_pairs] for h in result.hubness],
        "power": planted(result.power),
        "baselines": [
            {
                "channel": m.channel,
                "authenticity": estimate(m.authenticity),
                "data_copying": estimate(m.data_copying),
                "closer_to_training": estimate(m.closer_to_training),
                "neighbour_ratio": estimate(m.neighbour_ratio),
                "gan_leaks_auc": estimate(m.gan_leaks_auc),
                "n_synthetic": m.n_synthetic,
                "n_real": m.n_real,
            }
            for m in result.baselines
        ],
        "verification": [
            {
                "role": s.role,
                "n_people": s.n_people,
                "n_images": s.n_images,
                "n_mated": s.n_mated,
                "n_non_mated": s.n_non_mated,
                "mated": [s.mated_mean, s.mated_deviation],
                "non_mated": [s.non_mated_mean, s.non_mated_deviation],
                "operating": [
                    {"fmr": o.fmr, "cosine": estimate(o.cosine), "tpr": estimate(o.tpr)} for o in s.operating
                ],
            }
            for s in result.verification
        ],
        "copy_thresholds": copy_thresholds(result.copy_thresholds),
        "input_checks": [[check.name, check.status, estimate(check.figure)] for check in result.input_checks],
        "rejects": {role: [[r.id, r.stage] for r in rejects] for role, rejects in result.rejects.items()},
    }


def of_world_without_control(world: World, store: Path, tmp_path: Path) -> unveil.AuditResult:
    """With two files that are rejected."""
    training = tmp_path / "training"
    shutil.copytree(world.training, training)
    write(training / "x/empty.jpg", b"")
    write(training / "x/blank.png", encoded(np.zeros((300, 200, 3), np.uint8)))
    return audit(world.synthetic, training, out=tmp_path / "run", store=store, planted_leaks="off")


def of_two_models(world: World, store: Path, tmp_path: Path) -> unveil.AuditResult:
    models = ["dlib_resnet_v1", tiny_model(tmp_path / "tiny.onnx", "arcface112", 112)]
    sources = (world.synthetic, world.training, world.control)
    return audit(*sources, out=tmp_path / "run", store=store, planted_leaks="off", model=models)


def of_embeddings(tmp_path: Path) -> unveil.AuditResult:
    """Vectors of people with several images each: 25 of 100 training people leak, one vector is unusable."""
    rng = np.random.default_rng(5)

    def images_of(people: np.ndarray[Any, Any], noise: float, each: int) -> np.ndarray[Any, Any]:
        rows = np.repeat(people, each, axis=0)
        return np.asarray(rows + noise * unit_rows(rng, len(rows), rows.shape[1]), np.float32)

    def save(role: str, vectors: np.ndarray[Any, Any], each: int) -> Path:
        labels = np.array([f"{role}-{i // each:03d}" for i in range(len(vectors))])
        ids = np.array([f"{label}/{i % each}.png" for i, label in enumerate(labels)])
        np.savez(tmp_path / f"{role}.npz", vectors=vectors, ids=ids, people=labels, model=np.array("drawn"))
        return tmp_path / f"{role}.npz"

    real = unit_rows(rng, 100, 32)
    training = images_of(real, 0.5, 3)
    training[7] = 0
    leaks = images_of(real[:25], 0.4, 1)
    identities = np.concatenate([leaks, unit_rows(rng, 75, 32)])
    return audit(
        save("synthetic", images_of(identities, 0.4, 2), 2),
        save("training", training, 3),
        save("control", images_of(unit_rows(rng, 200, 32), 0.5, 2), 2),
        **{"out": tmp_path / "run", "planted_leaks": "off", "labels": "folder"},
    )


def differences(was: Any, now: Any, path: str = "") -> Iterator[str]:
    """Where two trees of plain values differ, beyond what another processor changes: scores by 1e-4 to 7e-4."""
    if isinstance(was, dict) and isinstance(now, dict):
        for key in [*was, *(k for k in now if k not in was)]:
            if key in was and key in now:
                yield from differences(was[key], now[key], f"{path}.{key}" if path else key)
            else:
                yield f"{path}.{key}: only {'recorded' if key in was else 'found'}"
    elif isinstance(was, list) and isinstance(now, list):
        if len(was) != len(now):
            yield f"{path}: {len(was)} recorded, {len(now)} found"
        for i, (a, b) in enumerate(zip(was, now, strict=False)):
            yield from differences(a, b, f"{path}[{i}]")
    elif type(was) is float and type(now) is float:
        relative = 1e-2 if path.rpartition(".")[2] in P_VALUES else 1e-3
        if not math.isclose(was, now, rel_tol=relative, abs_tol=1e-3):
            yield f"{path}: {was!r} recorded, {now!r} found"
    elif type(was) is not type(now) or was != now:
        yield f"{path}: {was!r} recorded, {now!r} found"


def by_name(recorded: dict[str, Any], found: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both with a dictionary for each table, since a near tie may change places.

    The last tenth of the highest pairs may differ: pairs just below the end of the list may have come in.
    """
    recorded, found = dict(recorded), dict(found)
    for table, keys in TABLES.items():
        was, now = (
            {" ".join(str(row[k]) for k in keys): row for row in numbers[table]} for numbers in (recorded, found)
        )
        if table.startswith("top_pairs"):
            was = {key: row for key, row in was.items() if row["rank"] <= 0.9 * len(was)}
            now = {key: row for key, row in now.items() if key in was}
            was, now = ({k: {**row, "rank": None} for k, row in side.items()} for side in (was, now))
        recorded[table], found[table] = was, now
    return recorded, found


def plain(value: Any) -> Any:
    """The value as JSON can hold it, with floats of nine digits."""
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, (float, np.floating)):
        return float(f"{float(value):.9g}")
    return value.item() if isinstance(value, np.generic) else value


def to_text(found: dict[str, Any]) -> str:
    """JSON with one key a line; long lists of records become tables of a line for each record, without its keys."""

    def line(value: Any) -> str:
        return json.dumps(value, separators=(",", ":"), allow_nan=False)

    entries = []
    for key, value in found.items():
        if key in TABLES:
            columns = list(value[0])
            rows = ",\n".join(line([record[column] for column in columns]) for record in value)
            entries.append(f'{line(key)}:{{"columns":{line(columns)},"rows":[\n{rows}\n]}}')
        else:
            entries.append(f"{line(key)}:{line(value)}")
    return "{\n" + ",\n".join(entries) + "\n}\n"


def from_text(text: str) -> dict[str, Any]:
    """The inverse of `to_text`."""
    found: dict[str, Any] = json.loads(text)
    for key in TABLES:
        found[key] = [dict(zip(found[key]["columns"], row, strict=True)) for row in found[key]["rows"]]
    return found


@pytest.mark.parametrize("name", AUDITS)
def test_numbers_are_the_recorded_ones(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    world, store = request.getfixturevalue("world"), request.getfixturevalue("store")
    if name == "control":
        result, _ = request.getfixturevalue("audited")
    elif name == "no_control":
        result = of_world_without_control(world, store, tmp_path)
    elif name == "two_models":
        result = of_two_models(world, store, tmp_path)
    else:
        result = of_embeddings(tmp_path)
    found, file = plain(numbers(result)), GOLDEN / f"{name}.json"
    if request.config.getoption("--write-golden"):
        write(file, to_text(found))
        pytest.skip(f"{file.name} is written")
    differ = list(differences(*by_name(from_text(file.read_text("utf-8")), found)))
    assert not differ, f"{len(differ)} numbers of {file.name} differ:\n" + "\n".join(differ[:10])


def test_a_changed_number_is_noticed() -> None:
    was = {"people": [{"person": "a", "score": 1.0, "q": 0.02, "significant_by": ["conformal"]}]}
    for key, near, far in (("score", 1 + 1e-4, 1 + 2e-3), ("q", 0.0201, 0.022)):
        assert not list(differences(was, {"people": [{**was["people"][0], key: near}]}))
        (found,) = differences(was, {"people": [{**was["people"][0], key: far}]})
        assert found.startswith(f"people[0].{key}: ")
    for key, other in (("person", "b"), ("significant_by", []), ("score", None), ("score", 1)):
        assert list(differences(was, {"people": [{**was["people"][0], key: other}]}))
