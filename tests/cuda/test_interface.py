"""Device arrays where there is no GPU: what models elsewhere say of them."""

import numpy as np
import pytest

import fastlstm
from tests import models


class Foreign:
    """Another library's device array."""

    def __init__(self):
        self.__cuda_array_interface__ = {"shape": (3,), "typestr": "<f4", "data": (0x7000, True), "version": 3}

    def __array__(self, dtype=None, copy=None):
        raise TypeError("implicit conversion to a NumPy array is not allowed")


def test_a_model_elsewhere_says_so():
    rng, x = np.random.default_rng(1), Foreign()
    model = fastlstm.Model(models.layers_of([models.lstm(rng, 3, 3)], "float32"), device="numpy")
    stream = model.stream()
    for call in (model.step, model.run, lambda x: model.generate(2, x), model.iterate, stream.step, stream.process):
        with pytest.raises(fastlstm.ArgumentError, match=r"an array on a GPU, and the model is on 'numpy'.*x\.get"):
            call(x) if call != model.iterate else model.iterate(2, x)
    with pytest.raises(fastlstm.ArgumentError, match="cuda_stream is for device 'cuda'; the model is on 'numpy'"):
        model.stream(cuda_stream=1)
    with pytest.raises(fastlstm.ArgumentError, match="state"):
        model.step(np.zeros(3), [(x, x)])
    of_ids = models.layers_of([models.embedding(rng, 7, 3), models.lstm(rng, 3, 4)], "float32")
    with pytest.raises(fastlstm.ArgumentError, match="an array on a GPU"):
        fastlstm.Model(of_ids, device="numpy").stream().step(x)
