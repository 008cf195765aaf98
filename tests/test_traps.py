"""Where each trap that people have fallen into is tested: the tests' names, and fixtures that test_golden.py runs.

The numbers are those of the list of traps that the project began with; a test that is renamed or dropped shows here.
"""

import ast
from pathlib import Path

import pytest

from tests.test_golden import cases

TESTS = Path(__file__).parent

TRAPS = {
    "1 forget_bias is not in the checkpoint, and in Keras it is in the bias already": [
        "recognise/test_tf1_graph.py::test_forget_bias_is_the_constant_exactly",
        "recognise/test_tf1_names.py::test_cudnn_compatible_cells_add_no_forget_bias",
        "tf1.15/basic_forget_bias",
        "keras3/sequential",
    ],
    "2 up to TF 1.1 block cells clip at 3 silently, under the names of LSTMCell": [
        "recognise/test_tf1_cells.py::test_the_silent_clip_bites",
        "recognise/test_tf1_cells.py::test_block_cell_or_not_is_asked_for",
        "recognise/test_tf1_names.py::test_old_block_cells_clip",
        "tf1.0/block",
        "cells_tf0.12/block_cell",
    ],
    "3 i j f o against i f c o; BlockLSTM against BlockLSTMV2": [
        "recognise/test_tf1_graph.py::test_a_block_cell_says_it_in_its_attributes",
        "recognise/test_tf1_graph.py::test_stripped_attributes_are_the_operations_defaults",
        "tf1.15/block",
    ],
    "4 two hard sigmoids of one name, and a default that changed": [
        "recognise_keras/test_keras_golden.py::test_one_name_is_two_functions",
        "recognise_objects/test_objects.py::test_the_two_hard_sigmoids_are_told_apart_in_graphs",
        "recognise_objects/test_objects.py::test_trap_hard_sigmoid_of_the_old_era_is_asked_for",
        "keras3/hard_sigmoid",
        "tf_keras/hard_sigmoid",
    ],
    "5 (c, h) against (h, c)": [
        "test_running.py::test_a_state_is_taken_by_its_names",
        "live/test_state.py::test_tensorflow_s_own_tuples_are_taken_as_they_are",
        "tf1.15/state_array",
    ],
    "6 the output gate's peephole sees the new, clipped cell state": ["tf1.15/lstm_peephole_proj_clip"],
    "7 a projection has no bias, and is clipped after it": ["tf1.15/lstm_peephole_proj_clip", "tf1.15/state_list"],
    "8 layer norm: epsilon 1e-12, the normalised state is kept, no bias": [
        "cells_tf1.15/layer_norm",
        "cells_tf1.15/layer_norm_off",
        "cells_tf1.15/layer_norm_lstm",
    ],
    "9 coupled gates: i = 1 - f, or f = 1 - i": ["cells_tf1.15/coupled", "tflite/coupled", "onnx/input_forget"],
    "10 ONNX' clip is no cell_clip": ["recognise/test_foreign.py::test_onnx_cells_that_no_layer_is"],
    "11 slices, row shards, attributes in chunks, data in shards": [
        "formats/test_formats_bundle.py::test_genuine_partitioned",
        "formats/test_formats_keras.py::test_attributes_in_chunks",
        "tf1.15/partitioned",
        "tf0.12/lstm_row_shards",
        "tf0.12/two_shards",
    ],
    "12 Keras 3: a hole, duplicates, underscores, sorted paths, counted classes": [
        "recognise_objects/test_objects.py::test_trap_stacked_cells_that_keras_3_leaves_out",
        "recognise_objects/test_objects.py::test_layers_come_in_their_order_not_in_that_of_the_keys",
        "recognise_keras/test_keras_config.py::test_keras_2_12_names_its_folders_otherwise",
        "keras3/objects",
        "keras3/subclass",
    ],
    "13 a TensorProto's short list repeats its last number": [
        "formats/test_formats_graph.py::test_a_huge_splat_takes_no_memory",
        "formats/test_formats_graph.py::test_tensor_proto",
    ],
    "14 what is zero is absent in proto3": ["formats/test_formats_bundle.py::test_bundle", "tf1.15/training"],
    "15 moving averages beside the weights": [
        "recognise/test_averages.py::test_outputs_are_tensorflows_with_the_shadows",
        "recognise/test_tf1_fixtures.py::test_slots_and_averages_are_left_aside",
    ],
    "16 fully_connected keeps its names": ["tf1.15/basic_f64_tanh_head", "tf1.0/basic_f64_tanh_head"],
    "17 state files with foreign paths, half-written saves, data without an index": [
        "formats/test_formats_checkpoint.py::test_state_file_that_names_another_checkpoint",
        "formats/test_formats_parts.py::test_an_unfinished_save_is_read_from_its_parts",
    ],
    "18 what is masked: zeros, or the last output again": [
        "test_running.py::test_lengths_are_dynamic_rnns",
        "test_cells.py::test_a_masked_step_repeats_h",
        "live/test_keras_layers.py::test_masks",
        "keras3/masking",
    ],
    "19 float16, bfloat16 and float64 variables, mixed precision": [
        "formats/test_formats_bundle.py::test_genuine_dtypes",
        "recognise/test_tf1_names.py::test_half_precision_and_float64_are_weights",
        "tf1.15/half",
    ],
    "20 files that nobody can trust": ["fuzz/test_fuzz.py::test_damaged_files"],
}


@pytest.mark.parametrize("trap", TRAPS)
def test_is_there(trap):
    fixtures = {f"{case.values[0].parent.name}/{case.values[0].name}" for case in cases()}
    for place in TRAPS[trap]:
        file, _, name = place.partition("::")
        if not name:
            assert file in fixtures
            continue
        tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
        assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}, place


def test_all_of_them():
    assert [int(trap.split()[0]) for trap in TRAPS] == list(range(1, 21))
