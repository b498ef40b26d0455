"""The best evaluation is known across a resume."""

from __future__ import annotations

import math

from tuiftune.training.evaluations import Evaluations


def test_the_best_step_and_the_evaluations_since_are_known_after_a_resume(tmp_path):
    first = Evaluations(tmp_path / "evaluations.json", up_to_step=0)
    for step, loss in ((10, 3.0), (20, 2.5), (30, 2.7), (40, 2.4)):
        first.add(step, loss)
    assert (first.best_step, first.since_best) == (40, 0)
    resumed = Evaluations(tmp_path / "evaluations.json", up_to_step=30)
    assert (resumed.best_step, resumed.since_best) == (20, 1)
    assert 30 in resumed
    assert 40 not in resumed


def test_a_loss_that_is_no_number_is_never_the_best(tmp_path):
    found = Evaluations(tmp_path / "evaluations.json", up_to_step=0)
    found.add(10, math.nan)
    assert (found.best_step, found.since_best) == (None, 1)
    found.add(20, 5.0)
    found.add(30, math.nan)
    again = Evaluations(tmp_path / "evaluations.json", up_to_step=30)
    assert (again.best_step, again.since_best) == (20, 1)


def test_what_was_sampled_last_is_known_after_a_resume(tmp_path):
    first = Evaluations(tmp_path / "evaluations.json", up_to_step=0)
    assert first.sampled_step < 0
    first.sampled(20)
    assert Evaluations(tmp_path / "evaluations.json", up_to_step=30).sampled_step == 20
