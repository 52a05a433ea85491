"""Axes that show what matters, whatever one of the trials did."""

import pytest
from pretend import PretendDevice, session

from autobatch import tuner
from autobatch.engine.record_file import read_record
from autobatch.ui.charts.pairs import rates_of_both
from autobatch.ui.charts.throughput import throughput_chart
from autobatch.ui.charts.trials import metric_axis
from autobatch.ui.findings import Curve, findings


def curves(*values):
    return [
        Curve(
            batch_size=32,
            learning_rate=0.1,
            seed=seed,
            role="dropped",
            seconds=tuple(range(len(each))),
            values=each,
        )
        for seed, each in enumerate(values)
    ]


def shown(metric, *values):
    """The ends of the axis, in its own numbers."""
    axis = metric_axis(curves(*values), metric)
    low, high = axis["range"]
    return (10**low, 10**high) if axis.get("type") == "log" else (low, high)


@pytest.mark.parametrize("best", [0.5, 0.01])  # linear, and logarithmic
def test_a_loss_that_ended_far_above_its_start_does_not_flatten_the_others(best):
    low, high = shown("val_loss", (2.3, 1.0, best), (2.2, 2.0, 1e4))
    assert best / 2 < low < best
    assert 2.3 < high < 4


def test_a_loss_below_zero_is_shown_whole_and_its_worst_cut_off():
    low, high = shown("val_loss", (-1.0, -3.0), (-1.0, 500.0))
    assert low < -3
    assert -1 < high < 1


def test_the_good_end_of_a_maximised_metric_is_never_cut_off():
    low, high = shown("val_accuracy", (0.1, 0.5, 0.98), (0.12, 0.11, 0.02))
    assert high > 0.98
    assert low < 0.1


def test_what_falls_far_below_the_start_of_a_maximised_metric_is_cut_off():
    low, high = shown("val_r2_score", (0.0, 0.6, 0.9), (-0.1, -400.0))
    assert high > 0.9
    assert -1 < low < -0.1


def test_an_axis_of_one_value_has_an_extent():
    low, high = shown("val_loss", (0.0, 0.0))
    assert low < high


def test_rates_of_less_than_a_sample_a_second_are_told(tmp_path):
    with session(tmp_path, PretendDevice(step_seconds=lambda size: 8.0 * size)) as opened:
        tuner.benchmark(opened)
    found = findings(read_record(tmp_path), "slow")
    charts = throughput_chart(found), rates_of_both(found, found)
    for chart in charts:
        assert chart.table.rows[0][1] == "0.125"
        assert "0" not in chart.figure["layout"]["yaxis"]["ticktext"]
