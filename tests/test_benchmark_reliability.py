"""What the reliability script makes of its trials, and that its damages are damages."""

import copy

import pytest

from benchmarks.reliability import _damages, summary

GOOD = {"reached_it": True, "starts": 2, "equal": True, "leftovers": []}
RESULTS = {
    **{f"{name} {i}": dict(GOOD) for name in ("SIGKILL", "SIGTERM", "SIGINT") for i in range(2)},
    "damage": {"read_wrong": []},
    "disk": {"equal": True},
    "memory": {"bytes_a_step": 12.0},
}


def broken(name, **fields):
    results = copy.deepcopy(RESULTS)
    results[name] |= fields
    return results


def test_all_holds_of_trials_that_went_well():
    found = summary(RESULTS)
    assert all(found["holds"].values())
    assert found["signals"]["SIGKILL"]["trials"] == 2
    assert all(summary(RESULTS | {"disk": None})["holds"].values())  # where none may be mounted


@pytest.mark.parametrize(
    ("results", "claim"),
    [
        (broken("SIGTERM 1", equal=False), "every run after SIGTERM ends equal to the bit"),
        (
            {**RESULTS, **{f"SIGINT {i}": GOOD | {"starts": 1} for i in range(2)}},
            "signals end runs",
        ),
        (broken("SIGINT 0", leftovers=["psm_1"]), "no trial leaves shared memory or processes"),
        (broken("damage", read_wrong=["d/1 cut"]), "no damage is read without a word"),
        (broken("disk", equal=False), "a full disk spares the checkpoints"),
        (broken("memory", bytes_a_step=5e3), "memory grows by less than 1 kB a step"),
    ],
)
def test_one_trial_that_went_wrong_is_one_claim_that_does_not_hold(results, claim):
    assert [name for name, holds in summary(results)["holds"].items() if not holds] == [claim]


def test_each_damage_changes_the_file(tmp_path):
    for name, damage in _damages():
        path = tmp_path / name
        path.write_bytes(b"0123456789")
        damage(path)
        assert not path.exists() or path.read_bytes() != b"0123456789"
