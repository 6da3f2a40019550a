"""The CRF's best label, as `infer_seg` takes it from worker processes."""

import numpy as np

from rca.config import Crf
from rca.labels.crf import crf_labels, dense_crf


def test_crf_labels__are_those_of_the_highest_posterior():
    draws = np.random.default_rng(0)
    image = draws.integers(0, 256, (12, 10, 3), dtype=np.uint8)
    probabilities = draws.dirichlet([1, 1, 1], (12, 10)).transpose(2, 0, 1).astype(np.float32)
    posteriors = dense_crf(image, probabilities, Crf(iterations=2))
    labels = crf_labels((image, probabilities), Crf(iterations=2))
    assert labels.dtype == np.uint8
    expected = [
        [max(range(3), key=lambda k: posteriors[k, y, x]) for x in range(10)] for y in range(12)
    ]
    assert labels.tolist() == expected
