"""TensorFlow 1 graphs: as they stand, and one step of them."""

import contextlib
import importlib

from verify_common import Parts, Refused, first_line, quiet, size_of


def _tensorflow1(answer):
    quiet()
    import tensorflow as tf

    answer["runner"] = "TensorFlow {}".format(tf.__version__)
    tf1 = tf.compat.v1 if hasattr(tf, "compat") and hasattr(tf.compat, "v1") else tf
    if hasattr(tf1, "disable_eager_execution"):
        tf1.disable_eager_execution()
    if not tf.__version__.startswith("2."):
        for module in ("", ".rnn.python.ops.lstm_ops", ".rnn.python.ops.gru_ops"):  # the operations of its cells
            with contextlib.suppress(Exception):
                importlib.import_module("tensorflow.contrib" + module)
    return tf1


class Graph:
    """A graph with its variables, from a checkpoint, a SavedModel or a frozen graph."""

    def __init__(self, job, answer, np):
        self.job, self.np, self.layers = job, np, 0
        self.tf = tf = _tensorflow1(answer)
        self.session = tf.Session(graph=tf.Graph(), config=tf.ConfigProto(allow_soft_placement=True))
        with self.session.graph.as_default():
            self._load(job)
        self.graph = self.session.graph
        self.definition = self.graph.as_graph_def()
        self.nodes = dict((node.name, node) for node in self.definition.node)

    def _load(self, job):
        tf = self.tf
        if job["load"] == "meta":
            from tensorflow.core.protobuf import meta_graph_pb2

            meta = meta_graph_pb2.MetaGraphDef()
            with open(job["meta"], "rb") as file:
                meta.ParseFromString(file.read())
            meta.ClearField("collection_def")  # training's, which may name what the file no longer has
            if meta.HasField("saver_def"):
                tf.train.import_meta_graph(meta, clear_devices=True).restore(self.session, job["path"])
            else:
                tf.import_graph_def(meta.graph_def, name="")
                self._restore(job["path"])
        elif job["load"] == "saved_model":
            tf.saved_model.loader.load(self.session, job["tags"], job["path"])
        else:
            graph_def = tf.GraphDef()
            with open(job["path"], "rb") as file:
                graph_def.ParseFromString(file.read())
            tf.import_graph_def(graph_def, name="")

    def _restore(self, path):
        """Give the variables their values from the checkpoint, where the graph does not say how."""
        tf, np = self.tf, self.np
        reader = tf.train.NewCheckpointReader(path)
        shapes = reader.get_variable_to_shape_map()
        operations = self.session.graph.get_operations()
        variables = [op for op in operations if op.type in ("Variable", "VariableV2")]
        begins = {}  # of a variable in parts, where the next part begins
        for op in variables:
            name = op.name if op.name in shapes else op.name.rpartition("/part_")[0]
            if name not in shapes:
                continue
            value, size = reader.get_tensor(name), [size_of(d) for d in op.outputs[0].get_shape().dims]
            axis = next((k for k, n in enumerate(size) if n != value.shape[k]), 0)
            begin = begins.get(name, 0)
            begins[name] = begin + size[axis] if size else 0
            part = np.take(value, range(begin, begin + size[axis]), axis=axis) if size else value
            given = tf.placeholder(op.outputs[0].dtype.base_dtype)
            self.session.run(tf.assign(op.outputs[0], given, validate_shape=False).op, {given: part})

    # The graph as it stands

    def whole(self, xs):
        """xs (T, B, D) or ids (T, B): gives the outputs of every layout of the input that the graph takes."""
        plan = self.job["whole"]
        if plan["why_not"]:
            raise Refused(plan["why_not"])
        xs = xs[::-1] if plan["turned"] else xs
        fetches = dict((name, self.tensor(text)) for name, text in plan["fetch"].items())
        feed = self.tensor(plan["feed"])
        others = self._others([tensor for tensor in fetches.values()], feed)
        outcomes, problem = [], None
        for layout in plan["orders"]:
            for axes in self._axes(feed, xs.ndim):
                try:
                    x, steps, batch = self._arranged(xs, layout, feed, axes)
                    feeds = others(steps, batch)
                    feeds[feed] = x
                    values = self.session.run(fetches, feeds)
                    values["y"] = self.np.concatenate([values.pop("y%d" % k) for k in self._sides(values)], axis=-1)
                    outcomes.append(("{}-{}-{}".format(layout, steps, batch), values))
                except Exception as error:
                    problem = problem or error
        if not outcomes:
            raise Refused("TensorFlow refuses to run it: {}".format(first_line(problem)))
        return outcomes

    def _sides(self, values):
        return range(sum(name.startswith("y") for name in values))

    def _axes(self, feed, usual):
        """The numbers of axes that the input may have: up to TensorFlow 1.0 a file says nothing of an open shape."""
        dims = feed.get_shape().dims
        return [len(dims)] if dims else [usual, usual + 1]

    def _arranged(self, xs, layout, feed, axes):
        """The first sequence of xs, as often as the graph's batch has rows, and as many steps as it takes."""
        dims = [size_of(d) for d in feed.get_shape().dims or []] or [None] * axes
        if axes < 2:
            raise Refused("its input {!r} has {} axes".format(feed.name, axes))
        batch, steps = (dims[0], dims[1]) if layout == "batch" else (dims[1], dims[0])
        batch, steps = batch or 1, min(steps or len(xs), len(xs))
        if (dims[1] if layout == "batch" else dims[0]) not in (None, steps):
            raise Refused("its input has {} steps, more than were compared".format(dims[1]))
        rows = self.np.repeat(xs[:steps, :1], batch, axis=1)
        if layout == "batch":
            rows = self.np.swapaxes(rows, 0, 1)
        if rows.ndim > axes:
            rows = rows[..., 0]
        elif rows.ndim < axes:
            rows = rows[..., None]
        return rows.astype(feed.dtype.as_numpy_dtype), steps, batch

    def _others(self, fetches, feed):
        """What else has to be fed: dropout's rates, lengths, whether it trains, states."""
        needed, pending, seen = [], [tensor.op for tensor in fetches], set()
        while pending:
            op = pending.pop()
            if op.name in seen or op.name == feed.op.name:
                continue
            seen.add(op.name)
            if op.type in ("Placeholder", "PlaceholderV2"):
                needed.append(op.outputs[0])
            pending.extend(tensor.op for tensor in op.inputs)

        def values(steps, batch):
            return dict((tensor, self._other(tensor, steps, batch)) for tensor in needed)

        return values

    def _other(self, tensor, steps, batch):
        np, shape = self.np, tensor.get_shape()
        dims = [] if shape.dims is None else [size_of(d) for d in shape.dims]
        kind = np.dtype(tensor.dtype.as_numpy_dtype).kind
        if kind == "b" and not dims:
            return False
        if kind == "f" and not dims:
            return 1.0  # keep_prob
        if kind in "iu" and (len(dims) == 1 or shape.dims is None):
            return np.full((dims and dims[0]) or batch, steps)
        if kind == "f" and len(dims) >= 2 and dims[-1]:  # an initial state: zeros, batch where a size is open
            return np.zeros([d or batch for d in dims])
        raise Refused("it needs a value for {!r} too, which fastlstm knows nothing of".format(tensor.name))

    # One step, of the graph's own operations

    def prepare_steps(self, xs):
        parts, stack = [], []
        with self.graph.as_default():
            for place in self.job["layers"] + [{"kind": "end"}]:
                if place["kind"] in ("both", "end"):
                    if stack:
                        parts.append(("stack", Stack(self, stack)))
                    stack = []
                else:
                    stack.append(place)
                if place["kind"] == "both":
                    ways = [Stack(self, place[way]) for way in ("forward", "backward")]
                    parts.append(("both", ways[0], ways[1], place["mode"], place["last"]))
        return Parts(parts, self.np)

    def tensor(self, text):
        return self.graph.get_tensor_by_name(text)


class Stack:
    """Layers one after another, a step at a time."""

    def __init__(self, owner, places):
        self.owner, self.tf = owner, owner.tf
        tf, tensor = owner.tf, owner.tensor
        self.x, self.before, self.after = None, [], []
        self.sizes = [place["state"] for place in places if place["state"]]
        value = None
        for k, place in enumerate(places):
            if place["kind"] == "one_hot":
                self.x = tf.placeholder(tf.int64, [None])
                onward = tensor(places[k + 1]["inputs"][0])
                value = tf.one_hot(self.x, place["size"], dtype=onward.dtype.base_dtype)
                continue
            if value is None:
                value = self.x = tf.placeholder(tensor(place["inputs"][0]).dtype.base_dtype)
            owner.layers += 1
            value = self._layer(place, value, "fastlstm_step/{}".format(owner.layers))
        self.y = value

    def _layer(self, place, x, scope):
        tf, owner = self.tf, self.owner
        if place["kind"] == "rows":
            return Copy(owner, place["inputs"], [x], flat=True).outputs(place["outputs"], scope)[0]
        before = [tf.placeholder(owner.tensor(name).dtype.base_dtype) for name in place["inputs"][1:]]
        given = [tf.expand_dims(x, 0) if place["sequence"] else x, *before]
        found = Copy(owner, place["inputs"], given, flat=False).outputs(place["outputs"], scope)
        c, h = found[:2]
        if place["sequence"]:
            c, h = c[0], h[0]
        if place["outputs"][0] == place["outputs"][1]:  # a GRU's c, which has no elements, stays
            c = before[0]
        self.before.append(before)
        self.after.append((c, h))
        if len(found) > 2:  # out of a highway
            return found[2]
        return x + h if place["residual"] else h

    def zero_state(self, batch):
        dtypes = [[t.dtype.as_numpy_dtype for t in pair] for pair in self.before]
        zeros = self.owner.np.zeros
        return [tuple(zeros((batch, n), dtype) for n, dtype in zip(*pair)) for pair in zip(self.sizes, dtypes)]

    def step(self, x, state):
        feeds = {self.x: x}
        for tensors, values in zip(self.before, state):
            feeds.update(zip(tensors, values))
        return self.owner.session.run((self.y, self.after), feeds)


class Copy:
    """The operations between some tensors, copied with the variables that they read, without any loop.

    inputs  names of the tensors that `given` take the place of
    flat    reshapes of the data are left out: it comes as rows
    """

    def __init__(self, owner, inputs, given, flat):
        self.owner, self.flat = owner, flat
        self.given, self.steps = dict(zip(inputs, given)), given
        self.definition = owner.tf.GraphDef()
        self.definition.versions.CopyFrom(owner.definition.versions)
        self.outer = {}  # name in the copy -> tensor of the graph
        self.copied = {}  # operation -> whether it depends on `given`
        self.done = {}  # tensor -> (its name in the copy, whether it depends on `given`)

    def outputs(self, names, scope):
        tf = self.owner.tf
        wanted = [self.value(name)[0] for name in names]
        results = tf.import_graph_def(
            self.definition, dict((name + ":0", t) for name, t in self.outer.items()), wanted, name=scope
        )
        return results

    def value(self, text):
        """The name that a tensor has in the copy."""
        text = text if ":" in text else text + ":0"
        if text not in self.done:
            self.done[text] = self._value(text)
        return self.done[text]

    def _value(self, text):
        if text in self.given:
            return self._from_outside(self.given[text]), True
        name, index = text.split(":")
        node = self.owner.nodes[name]
        inputs = [source for source in node.input if not source.startswith("^")]
        if node.op in ("Enter", "RefEnter"):
            return self.value(inputs[0])
        if node.op in ("Variable", "VariableV2", "VarHandleOp", "AutoReloadVariable"):
            tensor = self.owner.tensor(text)
            ref = node.op != "VarHandleOp"
            return self._from_outside(self.owner.tf.identity(tensor) if ref else tensor), False
        if node.op == "PlaceholderWithDefault":
            return self.value(inputs[0])
        if node.op in ("Placeholder", "PlaceholderV2"):
            return self._from_outside(self._placeholder(text)), False
        if node.op in ("Merge", "NextIteration", "LoopCond", "Exit", "Switch") or node.op.startswith("TensorArray"):
            raise Refused("its cell depends on {} {!r}, outside of the step".format(node.op, name))
        if name in self.copied:
            return "{}:{}".format(name, index), self.copied[name]
        if node.op.startswith("BlockLSTM"):  # by position: c and h may begin with one and the same zeros
            one = self.owner.tf.constant(1, self.owner.tf.int64)
            stubs = [(self._from_outside(value), True) for value in self.steps]
            values = [(self._from_outside(one), False)] + stubs + [self.value(source) for source in inputs[4:]]
        elif self.flat and node.op in ("Reshape", "Squeeze", "ExpandDims", "Identity"):
            value = self.value(inputs[0])
            if value[1]:
                return value
            values = [self.value(source) for source in inputs]
        else:
            values = [self.value(source) for source in inputs]
        copy = self.definition.node.add()
        copy.CopyFrom(node)
        copy.device = ""
        del copy.input[:]
        copy.input.extend(value[0] for value in values)
        for key in [key for key in copy.attr if key.startswith("_")]:
            del copy.attr[key]
        self.copied[name] = any(value[1] for value in values)
        return "{}:{}".format(name, index), self.copied[name]

    def _placeholder(self, text):
        """A dropout's rate and the like: as it is at inference."""
        tensor = self.owner.tensor(text)
        value = self.owner._other(tensor, 1, 1)
        return self.owner.tf.constant(value, tensor.dtype.base_dtype)

    def _from_outside(self, tensor):
        name = "outside_{}".format(len(self.outer))
        self.outer[name] = tensor
        stub = self.definition.node.add()
        stub.name, stub.op = name, "Placeholder"
        stub.attr["dtype"].type = tensor.dtype.base_dtype.as_datatype_enum
        return name + ":0"
