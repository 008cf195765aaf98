"""The smallest files that genuine writers make, for tests/fuzz to damage: an LSTM of two units, one input.

    python tools/make_fuzz_samples.py tf1      # under TensorFlow 1.15.5: checkpoints V2 and V1
    python tools/make_fuzz_samples.py keras    # under TensorFlow 2.21 with tf_keras: HDF5, .keras; safetensors

A small file makes 10,000 readings of it, and one of each of its lengths, a matter of seconds.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np
from fixtures_common import fresh_folder, rng_for


def tf1():
    import tensorflow.compat.v1 as tf

    for case, version in (("checkpoint", 2), ("checkpoint-v1", 1)):
        folder = fresh_folder("fuzz", case)
        with tf.Graph().as_default(), tf.Session() as session:
            x = tf.placeholder(tf.float32, [None, 1], "x")
            outputs, _ = tf.nn.static_rnn(tf.nn.rnn_cell.BasicLSTMCell(2, forget_bias=0.5), [x], dtype=tf.float32)
            tf.layers.dense(outputs[-1], 1, name="head")
            saver = tf.train.Saver(write_version=version)
            rng = rng_for(case)
            for variable in tf.global_variables():
                variable.load(rng.normal(0, 0.4, variable.shape.as_list()), session)
            prefix = saver.save(session, os.path.join(folder, "model"), write_meta_graph=False)
            if version == 2:
                tf.train.export_meta_graph(
                    prefix + ".meta",
                    as_text=False,
                    clear_devices=True,
                    clear_extraneous_savers=True,
                    strip_default_attrs=True,
                )

    folder = fresh_folder("fuzz", "saved-model-tf1")
    os.rmdir(folder)
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [None, 1], "x")
        outputs, _ = tf.nn.static_rnn(tf.nn.rnn_cell.BasicLSTMCell(2), [x], dtype=tf.float32)
        rng = rng_for("saved-model-tf1")
        for variable in tf.global_variables():
            variable.load(rng.normal(0, 0.4, variable.shape.as_list()), session)
        builder = tf.saved_model.Builder(folder)
        signature = tf.saved_model.predict_signature_def({"x": x}, {"y": outputs[-1]})
        builder.add_meta_graph_and_variables(
            session, ["serve"], {"serving_default": signature}, clear_devices=True, strip_default_attrs=True
        )
        builder.save()
        frozen = tf.graph_util.convert_variables_to_constants(session, session.graph_def, [outputs[-1].op.name])
        with open(os.path.join(fresh_folder("fuzz", "frozen-graph"), "model.pb"), "wb") as file:
            file.write(frozen.SerializeToString(deterministic=True))

    folder = fresh_folder("fuzz", "checkpoint-split")  # slices in two shards, strings, a scalar
    with tf.Graph().as_default(), tf.Session() as session:
        rng = rng_for("split")
        names = ["w", "w", "text", "step", "half"]
        tensors = [
            rng.normal(size=(2, 3)).astype("f4"),
            rng.normal(size=(1, 3)).astype("f4"),
            np.array([b"a", b"bcd"]),
            np.int64(7),
            np.ones(2, "f2"),
        ]
        slices = ["3 3 0,2:-", "3 3 2,1:-", "", "", ""]
        parts = [os.path.join(folder, name) for name in ("part0", "part1")]
        for part, chosen in ((parts[0], [0, 2]), (parts[1], [1, 3, 4])):
            pick = [[values[k] for k in chosen] for values in (names, slices, tensors)]
            session.run(tf.raw_ops.SaveV2(prefix=part, tensor_names=pick[0], shape_and_slices=pick[1], tensors=pick[2]))
        prefix = os.path.join(folder, "model")
        session.run(tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=parts, destination_prefix=prefix))


def keras():
    import keras
    import tf_keras

    h5, zipped, saved = (fresh_folder("fuzz", case) for case in ("keras-h5", "keras", "safetensors"))
    for name, maker in (("tf_keras", tf_keras), ("keras3", keras)):
        model = maker.Sequential(
            [maker.layers.Input((None, 1)), maker.layers.LSTM(2, use_bias=False, name="r")], name="m"
        )
        rng = rng_for(name)
        model.set_weights([rng.normal(0, 0.4, array.shape) for array in model.get_weights()])
        model.save(os.path.join(h5, name + ".h5"))
        if name == "keras3":
            model.save(os.path.join(zipped, "model.keras"))
            model.save_weights(os.path.join(h5, "model.weights.h5"))
            keras.saving.save_model(model, fresh_folder("fuzz", "keras-folder"), zipped=False)
            model.save_weights(
                os.path.join(fresh_folder("fuzz", "keras-shards"), "m.weights.json"), max_shard_size=1e-6
            )

        else:
            folder = fresh_folder("fuzz", "checkpoint-objects")
            model.save_weights(os.path.join(folder, "model"))

    exported = fresh_folder("fuzz", "saved-model")
    model.export(exported)
    os.remove(os.path.join(exported, "fingerprint.pb"))

    from safetensors.numpy import save_file

    import fastlstm

    loaded = fastlstm.load(os.path.join(h5, "keras3.h5"), device="numpy")
    fastlstm.save(loaded, os.path.join(saved, "saved.safetensors"))
    save_file({"w": np.ones((2, 3), "f4"), "b": np.zeros(3, "f2")}, os.path.join(saved, "other.safetensors"))


if __name__ == "__main__":
    for era in sys.argv[1:]:
        {"tf1": tf1, "keras": keras}[era]()
