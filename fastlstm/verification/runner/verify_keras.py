"""Model files of Keras."""

from verify_common import CannotRun, Parts, Refused, first_line, quiet, size_of

#: Layers that do nothing to a step at inference.
IDENTITIES = ("InputLayer", "Masking", "Dropout", "SpatialDropout1D", "GaussianNoise", "ActivityRegularization")


class Keras:
    """A model file of Keras, through the Keras of its age."""

    def __init__(self, job, answer, np):
        quiet()
        self.job, self.np = job, np
        problems = []
        for name, load in self._loaders(job["version"]):
            try:
                keras, version = load()
                self.model = keras.models.load_model(job["path"], compile=False)
                self.model.layers, self.model.inputs  # noqa: B018  what is no model of Keras has none
            except ImportError as error:
                problems.append("{}: {}".format(name, error))
                continue
            except Exception as error:
                problems.append("{}: {}: {}".format(name, type(error).__name__, first_line(error)))
                continue
            answer["runner"] = "{} {}".format(name, version)
            break
        else:
            what = CannotRun if any("Error: " in text for text in problems) else ImportError
            raise what("; ".join(problems) or "no Keras for a file of Keras {}".format(job["version"]))
        import tensorflow as tf

        self.tf = tf
        if not tf.executing_eagerly():
            raise CannotRun("TensorFlow {} does not run eagerly".format(tf.__version__))

    def _loaders(self, version):
        """The Kerases that read a file of that version as it was meant, the best first."""
        import tensorflow as tf

        def tensorflows():
            if tf.__version__.startswith("1."):
                tf.compat.v1.enable_eager_execution()
            return tf.keras, getattr(tf.keras, "__version__", tf.__version__)

        def named(name):
            module = __import__(name)
            return module, module.__version__

        inside = int(tf.__version__.split(".")[1]) if tf.__version__.startswith("2.") else 0
        if version.startswith("3"):
            return [("Keras", lambda: named("keras"))]
        if inside >= 16:
            return [("tf_keras", lambda: named("tf_keras"))]
        return [("tf.keras of TensorFlow", tensorflows)]

    def whole(self, xs):
        inputs = self.model.inputs or []
        shape = inputs[0].shape if inputs else (None, None)
        steps = shape[1] if len(shape) > 1 else None
        steps = size_of(steps)
        if steps and steps > len(xs):
            raise Refused("its input has {} steps, more than were compared".format(steps))
        if len(inputs) > 1:
            raise Refused("it has {} inputs".format(len(inputs)))
        batch = size_of(shape[0]) or 1
        rows = self.np.swapaxes(self.np.repeat(xs[: steps or len(xs), :1], batch, axis=1), 0, 1)
        self._reset(self.model)
        y = self.model(rows, training=False)
        outputs = [self.np.array(one) for one in (y if isinstance(y, (list, tuple)) else [y])]
        alike = [one for one in outputs if one.shape[:-1] == outputs[0].shape[:-1]]  # two directions side by side
        whole = self.np.concatenate(alike, axis=-1) if len(alike) == len(outputs) else outputs[0]
        return [("batch-{}-{}".format(rows.shape[1], batch), {"y": whole})]

    def _reset(self, model):
        """Back to zeros with the states that a stateful layer keeps from call to call."""
        for layer in getattr(model, "layers", []):
            for inner in (layer, getattr(layer, "forward_layer", None), getattr(layer, "backward_layer", None)):
                if getattr(inner, "stateful", False):
                    getattr(inner, "reset_states", getattr(inner, "reset_state", lambda: None))()
            self._reset(layer)

    def prepare_steps(self, xs):
        self.parts, self.chain = [], []
        self.sizes = [list(pair) for pair in self.job["state_sizes"]]
        self._collect(self.model)
        self._end_stack()
        parts = Parts(self.parts, self.np)
        self._check(parts, xs)
        return parts

    def _check(self, parts, xs):
        """Whether the layers one after another are the model, which may run them in another order."""
        try:
            ((label, values),) = self.whole(xs)
            steps, batch = map(int, label.split("-")[1:])
            ys = self.np.swapaxes(parts.run(self.np.repeat(xs[:steps, :1], batch, axis=1))[0], 0, 1)
        except Exception as error:
            raise Refused("its layers cannot be run one after another: {}".format(first_line(error))) from error
        whole = values["y"]
        ys = ys if whole.ndim == ys.ndim else ys[:, -1]
        if whole.shape != ys.shape or not self.np.allclose(whole, ys, rtol=1e-3, atol=1e-3, equal_nan=True):
            raise Refused("it is more than its layers one after another")

    def _end_stack(self):
        if self.chain:
            self.parts.append(("stack", Stack(self, self.chain)))
        self.chain = []

    def _collect(self, model):
        for layer in model.layers:
            kind = type(layer).__name__
            if kind in IDENTITIES:
                continue
            if kind == "Bidirectional":
                self._end_stack()
                ways = [Stack(self, [way]) for way in (layer.forward_layer, layer.backward_layer)]
                mode = layer.merge_mode or "concat"
                self.parts.append(("both", ways[0], ways[1], mode, not layer.return_sequences))
            elif hasattr(layer, "layers") and not hasattr(layer, "cell"):
                self._collect(layer)
            elif kind in ("Reshape", "Flatten", "Permute", "RepeatVector"):
                raise Refused("{!r} ({}) works on all steps at once".format(layer.name, kind))
            else:
                if getattr(layer, "go_backwards", False):
                    self._end_stack()
                    self.parts.append(("reverse",))
                self.chain.append(layer.layer if kind == "TimeDistributed" else layer)


class Stack:
    """Layers one after another, a step at a time."""

    def __init__(self, owner, chain):
        self.owner = owner
        cells = [cell for layer in chain for cell in _cells(layer)]
        self.sizes = [owner.sizes.pop(0) for _ in cells]

        def run(x, state):
            state, after = list(state), []
            for layer in chain:
                cells = _cells(layer)
                x = x if cells else layer(x)
                for cell in cells:
                    c, h = state.pop(0)
                    x, new = cell(x, [h, c] if c.shape[-1] else [h])
                    new = list(new) if isinstance(new, (list, tuple)) else [new]
                    after.append((new[1] if len(new) > 1 else c, new[0]))
            return x, after

        self._run = owner.tf.function(run)

    def zero_state(self, batch):
        zeros, dtype = self.owner.np.zeros, self.owner.job["dtype"]
        return [tuple(zeros((batch, n), dtype) for n in pair) for pair in self.sizes]

    def step(self, x, state):
        convert = self.owner.tf.convert_to_tensor
        y, after = self._run(convert(x), [(convert(c), convert(h)) for c, h in state])
        return y.numpy(), [(c.numpy(), h.numpy()) for c, h in after]


def _cells(layer):
    cell = getattr(layer, "cell", None)
    return [] if cell is None else getattr(cell, "cells", [cell])
