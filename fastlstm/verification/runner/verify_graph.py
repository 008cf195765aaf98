"""TensorFlow 1 graphs: as they stand, and one step of them."""

import contextlib

from verify_common import Refused, first_line, quiet, size_of


def _tensorflow1(answer):
    quiet()
    import tensorflow as tf

    answer["runner"] = "TensorFlow {}".format(tf.__version__)
    tf1 = tf.compat.v1 if hasattr(tf, "compat") and hasattr(tf.compat, "v1") else tf
    if hasattr(tf1, "disable_eager_execution"):
        tf1.disable_eager_execution()
    if tf.__version__.startswith("1."):
        with contextlib.suppress(Exception):
            import tensorflow.contrib  # noqa: F401  the operations of its cells
    return tf1


class Graph:
    """A graph with its variables, from a checkpoint, a SavedModel or a frozen graph."""

    def __init__(self, job, answer, np):
        self.job, self.np = job, np
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
            saver = tf.train.import_meta_graph(job["meta"], clear_devices=True)
            (saver or tf.train.Saver()).restore(self.session, job["path"])
        elif job["load"] == "saved_model":
            tf.saved_model.loader.load(self.session, job["tags"], job["path"])
        else:
            graph_def = tf.GraphDef()
            with open(job["path"], "rb") as file:
                graph_def.ParseFromString(file.read())
            tf.import_graph_def(graph_def, name="")

    # The graph as it stands

    def whole(self, xs):
        """xs (T, B, D) or ids (T, B): gives the outputs of every layout of the input that the graph takes."""
        plan = self.job["whole"]
        if plan["why_not"]:
            raise Refused(plan["why_not"])
        fetches = dict((name, self.tensor(text)) for name, text in plan["fetch"].items())
        feed = self.tensor(plan["feed"])
        others = self._others([tensor for tensor in fetches.values()], feed)
        outcomes, problem = [], None
        for layout in ("batch", "time"):
            try:
                x, steps, batch = self._arranged(xs, layout, feed)
                feeds = others(steps, batch)
                feeds[feed] = x
                values = self.session.run(fetches, feeds)
                outcomes.append(("{}-{}-{}".format(layout, steps, batch), values))
            except Exception as error:
                problem = problem or error
        if not outcomes:
            raise Refused("TensorFlow refuses to run it: {}".format(first_line(problem)))
        return outcomes

    def _arranged(self, xs, layout, feed):
        """The first sequence of xs, as often as the graph's batch has rows, and as many steps as it takes."""
        shape = feed.get_shape()
        dims = (
            [d.value if hasattr(d, "value") else d for d in shape.dims] if shape.dims is not None else [None] * xs.ndim
        )
        if len(dims) < 2:
            raise Refused("its input {!r} has {} axes".format(feed.name, len(dims)))
        batch, steps = (dims[0], dims[1]) if layout == "batch" else (dims[1], dims[0])
        batch, steps = batch or 1, min(steps or len(xs), len(xs))
        if (dims[1] if layout == "batch" else dims[0]) not in (None, steps):
            raise Refused("its input has {} steps, more than were compared".format(dims[1]))
        rows = self.np.repeat(xs[:steps, :1], batch, axis=1)
        if layout == "batch":
            rows = self.np.swapaxes(rows, 0, 1)
        if rows.ndim > len(dims):
            rows = rows[..., 0]
        elif rows.ndim < len(dims):
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
            return np.full(dims[0] or batch, steps)
        if kind == "f" and len(dims) >= 2 and dims[-1]:  # an initial state: zeros, batch where a size is open
            return np.zeros([d or batch for d in dims])
        raise Refused("it needs a value for {!r} too, which fastlstm knows nothing of".format(tensor.name))

    # One step, of the graph's own operations

    def prepare_steps(self, xs):
        tf = self.tf
        self.x, self.before, self.after = None, [], []
        with self.graph.as_default():
            value = None
            for k, place in enumerate(self.job["layers"]):
                scope = "fastlstm_step/{}".format(k)
                if place["kind"] == "one_hot":
                    self.x = tf.placeholder(tf.int64, [None])
                    onward = self.tensor(self.job["layers"][k + 1]["inputs"][0])
                    value = tf.one_hot(self.x, place["size"], dtype=onward.dtype.base_dtype)
                    continue
                if value is None:
                    value = self.x = tf.placeholder(self.tensor(place["inputs"][0]).dtype.base_dtype)
                value = self._layer(place, value, scope)
            self.y = value

    def _layer(self, place, x, scope):
        tf = self.tf
        if place["kind"] == "rows":
            return Copy(self, place["inputs"], [x], flat=True).outputs(place["outputs"], scope)[0]
        before = [tf.placeholder(self.tensor(name).dtype.base_dtype) for name in place["inputs"][1:]]
        copy = Copy(self, place["inputs"], [tf.expand_dims(x, 0) if place["sequence"] else x, *before], flat=False)
        c, h = copy.outputs(place["outputs"], scope)
        if place["sequence"]:
            c, h = c[0], h[0]
        if place["outputs"][0] == place["outputs"][1]:  # a GRU's c, which has no elements, stays
            c = before[0]
        self.before.append(before)
        self.after.append((c, h))
        return x + h if place["residual"] else h

    def zero_state(self, batch):
        dtypes = [[t.dtype.as_numpy_dtype for t in pair] for pair in self.before]
        sizes = self.job["state_sizes"]
        return [tuple(self.np.zeros((batch, n), dtype) for n, dtype in zip(*pair)) for pair in zip(sizes, dtypes)]

    def step(self, x, state):
        feeds = {self.x: x}
        for tensors, values in zip(self.before, state):
            feeds.update(zip(tensors, values))
        return self.session.run((self.y, self.after), feeds)

    def tensor(self, text):
        return self.graph.get_tensor_by_name(text)


class Copy:
    """The operations between some tensors, copied with the variables that they read, without any loop.

    inputs  names of the tensors that `given` take the place of
    flat    reshapes of the data are left out: it comes as rows
    """

    def __init__(self, owner, inputs, given, flat):
        self.owner, self.flat = owner, flat
        self.given = dict(zip(inputs, given))
        self.definition = owner.tf.GraphDef()
        self.definition.versions.CopyFrom(owner.definition.versions)
        self.outer = {}  # name in the copy -> tensor of the graph
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
        if node.op.startswith("BlockLSTM") and name + ":0" not in self.done:
            one = self.owner.tf.constant(1, self.owner.tf.int64)
            values = [(self._from_outside(one), False)] + [self.value(source) for source in inputs[1:]]
        elif self.flat and node.op in ("Reshape", "Squeeze", "ExpandDims", "Identity"):
            value = self.value(inputs[0])
            if value[1]:
                return value
            values = [self.value(source) for source in inputs]
        else:
            values = [self.value(source) for source in inputs]
        if name not in self._copied():
            copy = self.definition.node.add()
            copy.CopyFrom(node)
            copy.device = ""
            del copy.input[:]
            copy.input.extend(value[0] for value in values)
            for key in [key for key in copy.attr if key.startswith("_")]:
                del copy.attr[key]
        return "{}:{}".format(name, index), any(value[1] for value in values)

    def _copied(self):
        return set(node.name for node in self.definition.node)

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
