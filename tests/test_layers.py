"""The layers themselves: what they check, and that `arrays` and `config` are all there is to know."""

import json

import numpy as np
import pytest

import fastlstm
from fastlstm import ArgumentError, WeightError
from fastlstm.layers import GATE_ORDERS, GRU_GATE_ORDERS, LAYER_TYPES, Activation, recurrent_layers
from fastlstm.layers.lstm import coupled_gates


def draw(*shape, dtype="float32"):
    return np.random.default_rng(len(shape) + sum(shape)).normal(size=shape).astype(dtype)


def lstm(inputs=5, units=6, **options):
    return fastlstm.LSTM(draw(inputs, 4 * units), draw(units, 4 * units), draw(4 * units), **options)


def gru(inputs=5, units=6, after=False, **options):
    biases = (draw(3 * units), draw(3 * units) + 1) if after else (draw(3 * units),)
    return fastlstm.GRU(draw(inputs, 3 * units), draw(units, 3 * units), *biases, reset_after=after, **options)


def norm(units=6, **options):
    return fastlstm.LayerNorm(draw(4 * units), draw(units), draw(units) + 1, **options)


def highway(size=6, transform=False):
    more = (draw(size, size) + 1, draw(size) + 1) if transform else ()
    return fastlstm.Highway(draw(size, size), draw(size), *more)


def bidirectional(merge_mode="concat", **options):
    return fastlstm.Bidirectional([lstm(), lstm(6, 6)], [gru(after=True)], merge_mode, **options)


EVERY = {
    "layer norm": lstm(layer_norm=norm(epsilon=1e-3), gate_order="ijfo"),
    "highway": lstm(6, highway=highway(), zero_output_for_mask=True),
    "two gates": lstm(6, highway=highway(transform=True)),
    "gru": gru(gate_order="ruc", activation="relu", name="g"),
    "gru reset_after": gru(6, after=True, residual=True, zero_output_for_mask=True),
    "gru highway": gru(6, highway=highway(transform=True)),
    "masking": fastlstm.Masking(6, -1.5, name="m"),
    "mask_zero": fastlstm.Embedding(draw(9, 6), mask_zero=True),
    "reverse": fastlstm.Reverse(6, name="r"),
    "bidirectional": bidirectional("sum", name="both"),
    "bidirectional None": bidirectional(None),
    "bidirectional highway": fastlstm.Bidirectional([lstm(6, highway=highway())], [lstm(6, layer_norm=norm())]),
}


@pytest.mark.parametrize("layer", EVERY.values(), ids=EVERY)
def test_arrays_and_config_make_the_layer_again(layer):
    arrays, config = layer.arrays(), layer.config()
    again = type(layer).from_arrays(arrays, json.loads(json.dumps(config)))
    assert again.config() == config
    assert repr(again) == repr(layer)
    assert again.arrays().keys() == arrays.keys()
    for name, array in arrays.items():
        assert again.arrays()[name].dtype == array.dtype
        assert again.arrays()[name].tobytes() == array.tobytes(), name
    assert LAYER_TYPES[type(layer).__name__] is type(layer)


@pytest.mark.parametrize("layer", EVERY.values(), ids=EVERY)
def test_save_and_load_to_the_last_bit(layer, tmp_path):
    """Also the report, and the same bytes again."""
    first = [] if not hasattr(layer, "input_size") else [fastlstm.Dense(draw(4, layer.input_size))]
    model = fastlstm.Model([*first, layer, lstm(layer.output_size, 3)], device="numpy")
    path, second = tmp_path / "model.safetensors", tmp_path / "again.safetensors"
    fastlstm.save(model, path)
    loaded = fastlstm.load(path, device="numpy")
    assert [(type(a), a.config()) for a in loaded.layers] == [(type(a), a.config()) for a in model.layers]
    for mine, theirs in zip(loaded.layers, model.layers, strict=True):
        for name, array in theirs.arrays().items():
            assert mine.arrays()[name].tobytes() == array.tobytes()
    fastlstm.save(loaded, second)
    assert second.read_bytes() == path.read_bytes()
    assert "3" in str(loaded)
    assert fastlstm.extract(loaded, tmp_path / "model.npz").keys()


def test_overrides_reach_the_layers_inside(tmp_path):
    path = tmp_path / "model.safetensors"
    fastlstm.save(fastlstm.Model([bidirectional(), gru(12, 4)], device="numpy"), path)
    changed = fastlstm.load(path, device="numpy", activation="relu", cell_clip=2.0)
    assert {layer.activation.label for layer in recurrent_layers(changed.layers)} == {"relu"}
    assert [layer.cell_clip for layer in changed.layers[0].forward] == [2.0, 2.0]
    with pytest.raises(ArgumentError, match="activation 'nope' is not one"):
        fastlstm.load(path, activation="nope")


def test_the_state_is_forward_s_then_backward_s():
    model = fastlstm.Model([bidirectional(), gru(12, 4)], device="numpy")
    assert model.state_sizes == [(6, 6), (6, 6), (0, 6), (0, 4)]
    assert (model.input_size, model.output_size) == (5, 4)
    with pytest.raises(fastlstm.ShapeError, match=r"use to_tuples\(\)"):
        model.zero_state(2).to_array()


@pytest.mark.parametrize("order", GRU_GATE_ORDERS.items(), ids=lambda item: item[0])
def test_every_gru_gate_order(order):
    name, letters = order
    blocks = {"z": draw(3, 4), "r": draw(3, 4) + 1, "h": draw(3, 4) + 2}
    same = {"u": "z", "c": "h", "n": "h"}
    stored = np.concatenate([blocks[same.get(letter, letter)] for letter in letters], axis=1)
    for given in (name, letters):
        layer = fastlstm.GRU(stored, draw(4, 12), gate_order=given)
        np.testing.assert_array_equal(layer.kernel, np.concatenate([blocks[g] for g in "zrh"], axis=1))


def test_the_norm_s_gates_stand_in_the_lstm_s_order():
    made = norm()
    i, j, f, o = np.split(made.gamma, 4)
    np.testing.assert_array_equal(lstm(layer_norm=made, gate_order="ijfo").layer_norm.gamma, np.hstack([i, f, j, o]))
    assert set(GATE_ORDERS["tensorflow1"]) == set("ijfo")


def test_coupled_gates():
    """The blocks that the input gate gets: minus the forget gate's, and its gamma as it is."""
    kernel, recurrent, bias, gamma = draw(3, 12), draw(4, 12), draw(12), draw(12)
    w_f, w_o = draw(4), draw(4) + 1
    made = coupled_gates(kernel, recurrent, bias, forget_bias=1.0, peepholes=(w_f, w_o), gamma=gamma)
    made_gamma = made.pop("gamma")
    layer = fastlstm.LSTM(**made)
    j, f, o = np.split(kernel, 3, axis=1)
    np.testing.assert_array_equal(layer.kernel, np.hstack([-f, f, j, o]))
    j, f, o = np.split(bias, 3)
    np.testing.assert_array_equal(layer.bias, np.hstack([-(f + np.float32(1)), f + np.float32(1), j, o]))
    for got, want in zip(layer.peepholes, (-w_f, w_f, w_o), strict=True):
        np.testing.assert_array_equal(got, want)
    j, f, o = np.split(gamma, 3)
    np.testing.assert_array_equal(made_gamma, np.hstack([f, f, j, o]))


REFUSED = {
    "norm gates": (lambda: lstm(layer_norm=norm(5)), WeightError, r"gamma: shape \(20,\); expected \(4H,\)"),
    "norm state": (lambda: fastlstm.LayerNorm(draw(8), draw(3), draw(2)), WeightError, r"state_gamma: shape \(3,\)"),
    "norm epsilon": (lambda: norm(epsilon=-1.0), ArgumentError, "epsilon is -1.0; expected a number of at least 0"),
    "norm kind": (lambda: lstm(layer_norm=True), ArgumentError, "layer_norm is bool; expected a fastlstm.LayerNorm"),
    "highway square": (lambda: fastlstm.Highway(draw(3, 4), draw(3)), WeightError, r"expected a square, \(D, D\)"),
    "highway pair": (lambda: fastlstm.Highway(draw(3, 3), draw(3), draw(3, 3)), ArgumentError, "come together"),
    "highway size": (lambda: lstm(6, highway=highway(5)), WeightError, "its gates have 5 elements; expected D = 6"),
    "highway ends": (lambda: lstm(5, highway=highway(5)), WeightError, "5 elements and the output 6; a highway"),
    "highway kind": (lambda: gru(6, highway=1), ArgumentError, "highway is int; expected a fastlstm.Highway"),
    "two around": (lambda: gru(6, highway=highway(), residual=True), ArgumentError, "one of them"),
    "gru residual": (lambda: gru(5, residual=True), WeightError, "the input has 5 elements and the output 6"),
    "gru columns": (lambda: fastlstm.GRU(draw(3, 12), draw(3, 12)), WeightError, r"expected \(H, 3H\)"),
    "gru kernel": (lambda: fastlstm.GRU(draw(3, 9), draw(4, 12)), WeightError, r"kernel: shape \(3, 9\); .* 12\)"),
    "gru bias": (lambda: fastlstm.GRU(draw(3, 12), draw(4, 12), draw(9)), WeightError, r"bias: shape \(9,\)"),
    "gru one bias": (
        lambda: fastlstm.GRU(draw(3, 12), draw(4, 12), draw(12), reset_after=True),
        ArgumentError,
        "recurrent_bias is missing and reset_after is True",
    ),
    "gru other bias": (
        lambda: fastlstm.GRU(draw(3, 12), draw(4, 12), draw(12), draw(12)),
        ArgumentError,
        "recurrent_bias is given and reset_after is False",
    ),
    "gru gates": (lambda: gru(gate_order="zzh"), ArgumentError, "not an order of the three gates z"),
    "gru activation": (lambda: gru(activation="maxout"), ArgumentError, "'maxout' is not one"),
    "coupled order": (
        lambda: coupled_gates(draw(3, 12), draw(4, 12), gate_order="ifo"),
        ArgumentError,
        "not an order of the gates f, g",
    ),
    "coupled columns": (lambda: coupled_gates(draw(3, 16), draw(4, 16)), WeightError, "16 columns; expected 3H"),
    "coupled peepholes": (
        lambda: coupled_gates(draw(3, 12), draw(4, 12), peepholes=draw(3, 4)),
        ArgumentError,
        "3 peepholes; expected two",
    ),
    "masking size": (lambda: fastlstm.Masking(0), ArgumentError, "size is 0; expected an integer of at least 1"),
    "masking value": (lambda: fastlstm.Masking(3, float("nan")), ArgumentError, "mask_value is nan"),
    "reverse size": (lambda: fastlstm.Reverse(2.5), ArgumentError, "size is 2.5"),
    "one hot size": (lambda: fastlstm.OneHot(True), ArgumentError, "vocabulary_size is True"),
    "merge mode": (lambda: bidirectional("add"), ArgumentError, "merge_mode is 'add'; expected one of 'concat'"),
    "merge sizes": (
        lambda: fastlstm.Bidirectional([lstm()], [lstm(5, 4)], "sum"),
        WeightError,
        "forward gives 6 elements and backward 4; merge_mode 'sum' needs the same number",
    ),
    "merge inputs": (lambda: fastlstm.Bidirectional([lstm()], [lstm(4)]), WeightError, "takes 5 .* backward 4"),
    "merge stack": (
        lambda: fastlstm.Bidirectional([lstm(), lstm(5)], [lstm()]),
        WeightError,
        r"forward\[1\], LSTM\(5, 6\), takes 5 elements; .* gives 6",
    ),
    "merge kinds": (
        lambda: fastlstm.Bidirectional([lstm()], [fastlstm.Reverse(5), lstm()]),
        ArgumentError,
        r"backward\[0\] is Reverse; expected LSTM, GRU or Dense",
    ),
    "merge nothing": (lambda: fastlstm.Bidirectional([], [lstm()]), ArgumentError, "at least one LSTM or GRU"),
    "merge no state": (
        lambda: fastlstm.Bidirectional([fastlstm.Dense(draw(5, 6))], [lstm()]),
        ArgumentError,
        "at least one LSTM or GRU",
    ),
    "model no state": (
        lambda: fastlstm.Model([fastlstm.Reverse(3), fastlstm.Masking(3)]),
        ArgumentError,
        r"at least one LSTM or GRU layer; got \['Reverse', 'Masking'\]",
    ),
    "model sizes": (lambda: fastlstm.Model([fastlstm.Masking(4), lstm()]), WeightError, "takes 5 elements; .* gives 4"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "says"), REFUSED.values(), ids=REFUSED)
def test_refused(call, kind, says):
    with pytest.raises(kind, match=says):
        call()


DAMAGES = [
    (lambda c: c.pop("forward"), "forward is None; expected a list of layers"),
    (lambda c: c.update(backward=[]), "backward is"),
    (lambda c: c.update(backward=[3]), r"backward\[0\] is no description"),
    (lambda c: c["forward"][0].update(type="Dense"), "unexpected keyword argument"),
    (lambda c: c["forward"][0].update(type=["LSTM"]), r"forward\[0\] is no description"),
    (lambda c: c["forward"][0]["config"].update(activation="nope"), r"forward\[0\]: .*'nope'"),
    (lambda c: c["forward"][0]["config"].update(wings=2), "wings"),
    (lambda c: c["forward"].append(c["forward"][0]), "no array 'forward/2/kernel'"),
    (lambda c: c["backward"][0]["config"].update(reset_after=False), "recurrent_bias is given"),
    (lambda c: c.update(merge_mode=5), "merge_mode is 5"),
]


@pytest.mark.parametrize(("damage", "says"), DAMAGES, ids=[says[:24] for _, says in DAMAGES])
def test_damaged_descriptions(tmp_path, damage, says):
    from fastlstm.formats import open_artefact
    from fastlstm.formats.safetensors_file import ARCHITECTURE, write_safetensors

    path = tmp_path / "model.safetensors"
    fastlstm.save(fastlstm.Model([bidirectional()], device="numpy"), path)
    artefact = open_artefact(path)
    arrays, description = dict(artefact.tensors), json.loads(json.dumps(artefact.architecture))
    damage(description["layers"][0]["config"])
    write_safetensors(path, arrays, {ARCHITECTURE: json.dumps(description)})
    with pytest.raises(fastlstm.FormatError, match=says):
        fastlstm.load(path)


def test_peepholes_of_different_sizes_are_named():
    with pytest.raises(fastlstm.WeightError, match="peephole o"):
        fastlstm.LSTM(np.ones((2, 8)), np.ones((2, 8)), peepholes=[np.ones(2), np.ones(2), np.ones(3)])
    with pytest.raises(fastlstm.WeightError, match="0 peepholes"):
        fastlstm.LSTM(np.ones((2, 8)), np.ones((2, 8)), peepholes=1.0)


@pytest.mark.parametrize("name", [a.label for a in Activation if "SOFTMAX" not in a.name])
def test_activations_of_what_is_not_a_usual_number(name):
    """NaN, infinities and the very large and small: as NumPy has them; a NaN stays one."""
    numbers = [np.nan, np.inf, -np.inf, 1e30, -1e30, 3e38, -3e38, -90, -700, 1e-30, -1e-30, 0, 50, -50]
    x = np.array(numbers, np.float32)[:, None]
    nothing = np.zeros((1, 4), np.float32)
    answers = []
    for device in ("cpu", "numpy"):
        dense = fastlstm.Dense(np.ones((1, 1), np.float32), activation=name)
        model = fastlstm.Model([dense, fastlstm.LSTM(nothing, nothing, residual=True)], device=device)
        with np.errstate(all="ignore"):
            answers.append(model.step(x)[0])
    np.testing.assert_allclose(*answers, rtol=2e-5, atol=2e-5)
