"""Runs an original in its own TensorFlow or Keras: the other side of `fastlstm.verify`.

It is started by itself in any Python from 3.6 with any TensorFlow from 0.12: nothing in this folder imports fastlstm,
and all of it keeps to what those understand:

    python runner FOLDER     reads job.json and job.npz in FOLDER, writes answer.json and answer.npz there

A job tells between which tensors of a graph each layer is computed. Those operations, as the file has them, are copied
out of whatever loop they are in, with the file's own constants and variables, and run one step at a time.
"""

import json
import os
import sys
import traceback

from verify_common import CannotRun, Refused, first_line


def main(folder):
    answer, arrays = {"unavailable": {}}, {}
    try:
        import numpy as np
    except ImportError as error:
        answer["missing"] = str(error)
        return _write(folder, answer, None)
    try:
        with open(os.path.join(folder, "job.json")) as file:
            job = json.load(file)
        with np.load(os.path.join(folder, "job.npz")) as file:
            given = dict((name, file[name]) for name in file.files)
        original = _original(job["kind"])(job, answer, np)
        _whole(original, given["xs"], "whole", answer, arrays)
        parts = _parts(original, given, answer)
        if parts:
            _known(parts, job, given, arrays, np)
        if "long/x" in given and (job["run_only"] or not parts):
            _long(original, parts, given, answer, arrays)
    except CannotRun as error:
        answer["cannot"] = str(error)
    except ImportError as error:
        answer["missing"] = str(error)
    except Exception as error:  # whatever a TensorFlow of any age raises
        answer["error"] = "{}: {}".format(type(error).__name__, first_line(error))
        traceback.print_exc()
    _write(folder, answer, arrays)


def _write(folder, answer, arrays):
    if arrays is not None:
        import numpy as np

        np.savez(os.path.join(folder, "answer.npz"), **arrays)
    with open(os.path.join(folder, "answer.json"), "w") as file:
        json.dump(answer, file)


def _whole(original, xs, name, answer, arrays):
    """The file's model as it stands, over a known sequence."""
    try:
        for k, (layout, values) in enumerate(original.whole(xs)):
            for what, value in values.items():
                arrays["{}{}/{}/{}".format(name, k, layout, what)] = value
    except Refused as why:
        answer["unavailable"][name] = str(why)
    except Exception as error:
        answer["unavailable"][name] = "{}: {}".format(type(error).__name__, first_line(error))


def _long(original, parts, given, answer, arrays):
    """A long known sequence, through the file's model where it takes one so long, else through its layers."""
    _whole(original, given["long/x"], "long", answer, arrays)
    layouts = [name.split("/")[1] for name in arrays if name.startswith("long")]
    if parts and not any(layout.split("-")[1] == str(len(given["long/x"])) for layout in layouts):
        for name in [name for name in arrays if name.startswith("long")]:
            del arrays[name]
        answer["unavailable"].pop("long", None)
        arrays["long0/time-{}-1/y".format(len(given["long/x"]))] = parts.run(given["long/x"])[0]


def _parts(original, given, answer):
    try:
        return original.prepare_steps(given["xs"])
    except Refused as why:
        answer["unavailable"]["steps"] = str(why)
        return None


def _known(parts, job, given, arrays, np):
    """Step by step over the known sequence, then from the given states, then left to itself."""
    ys, states = parts.run(given["xs"])
    arrays["known/y"] = ys
    for k, pair in enumerate(states):
        for what, value in zip("ch", pair):
            arrays["known/{}_{}".format(what, k)] = value
    if not job["run_only"]:
        _loop(parts.parts[0][1], job, given, arrays, np, ys[-1], [(c[-1], h[-1]) for c, h in states])


def _loop(stack, job, given, arrays, np, y, state):
    stride, chunk = job["stride"], 256
    record = Record(arrays, "local", np, join=True)
    for at in range(0, len(given["local/x"]), chunk):
        rows = slice(at, at + chunk)
        before = [(given["local/c_%d" % k][rows], given["local/h_%d" % k][rows]) for k in range(len(state))]
        record.add(*stack.step(given["local/x"][rows], before))
    record.close()
    record = Record(arrays, "free", np)
    for n in range(job["steps"]):
        if job["feedback"] == "ids":
            x = y.argmax(axis=-1)
            record.add_id(x)
        elif job["feedback"] == "output":
            x = y
        else:
            x = given["free/x"][n]
        y, state = stack.step(x, state)
        if n % stride == 0:
            record.add(y, state)
    record.close()


class Record:
    """What came out, step by step: y (T, B, V), c_0 (T, B, H), h_0 ...; join: rows of a batch instead."""

    def __init__(self, arrays, name, np, join=False):
        self.arrays, self.name, self.np, self.join, self.lists = arrays, name, np, join, {}

    def add(self, y, state):
        self._append("y", y)
        for k, (c, h) in enumerate(state):
            self._append("c_{}".format(k), c)
            self._append("h_{}".format(k), h)

    def add_id(self, x):
        self._append("ids", x)

    def _append(self, what, value):
        self.lists.setdefault(what, []).append(self.np.array(value))

    def close(self):
        for what, values in self.lists.items():
            whole = self.np.concatenate(values) if self.join else self.np.stack(values)
            self.arrays["{}/{}".format(self.name, what)] = whole


def _original(kind):
    if kind == "graph":
        from verify_graph import Graph as original
    elif kind == "keras":
        from verify_keras import Keras as original
    else:
        from verify_signature import Signature as original
    return original


if __name__ == "__main__":
    sys.setrecursionlimit(20000)
    main(sys.argv[1])
