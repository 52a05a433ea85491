"""What is said of the user's samples."""

import tracemalloc

import keras
import numpy as np
import tensorflow as tf

from autobatch.worker.source import LOOK_BYTES, bytes_of, cut, nan_phrase


def test_nan_is_looked_for_without_a_copy_as_large_as_the_array():
    large = np.broadcast_to(np.float32(0), (8 * LOOK_BYTES,))  # takes no memory
    tracemalloc.start()
    assert nan_phrase({"x": large}, "") is None
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < LOOK_BYTES


def test_where_time_is_up_it_is_said_how_many_samples_were_looked_at_for_nan():
    x = np.zeros((2 * LOOK_BYTES // 8, 2), "float32")
    x[3, 1] = x[-1, 0] = np.nan
    assert nan_phrase({"x": x}, "") == "x has NaN in 2 of 4194304 samples (first: sample 3)"
    part = nan_phrase({"x": x}, "", seconds=0)
    assert part == "x has NaN in 1 of the first 2097152 samples (first: sample 3)"


def test_the_letters_of_texts_count_as_bytes():
    texts = ["a", "bcd"]
    for held in (tf.constant(texts), tf.ragged.constant([texts, []]), tf.constant("abcd")):
        assert bytes_of(held) == 4
    assert bytes_of(np.array(texts, dtype=object)) == 4 + 2 * 8  # of what refers to them
    assert bytes_of(np.array([1, None], dtype=object)) == 2 * 8


def test_rows_are_cut_of_what_has_one_for_each_sample():
    anchors, points = np.ones((30, 2)), np.ones((20, 2))
    found = cut(
        ({"anchors": anchors, "points": points, "scale": np.float32(2)}, points, None), 5, 8
    )
    assert keras.tree.map_structure(np.shape, found[0]) == {
        "anchors": (30, 2),
        "points": (3, 2),
        "scale": (),
    }
    assert (found[1].shape, found[2]) == ((3, 2), None)
