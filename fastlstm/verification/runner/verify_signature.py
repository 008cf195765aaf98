"""SavedModels of TensorFlow 2."""

from verify_common import CannotRun, Refused, first_line, quiet
from verify_keras import Keras


class Signature:
    """A SavedModel through its signature, to which no state goes in and from which none comes out.

    What Keras 2 saved is loaded by Keras too, which has the layers and so their states.
    """

    def __init__(self, job, answer, np):
        quiet()
        import tensorflow as tf

        self.tf, self.np = tf, np
        self.function = self.keras = None
        self.why_no_signature, self.why_no_keras = "it has no signature", None
        try:
            loaded = tf.saved_model.load(job["path"])
            self.loaded, signatures = loaded, loaded.signatures  # the variables live as long as it does
            name = "serving_default" if "serving_default" in signatures else min(signatures, default=None)
            self.function = signatures[name] if name else None
        except Exception as error:
            self.why_no_signature = first_line(error)
        try:
            self.keras = Keras(job, answer, np)
        except Exception as error:
            self.why_no_keras = first_line(error)
        if self.function is None and self.keras is None:
            raise CannotRun("{}; Keras: {}".format(self.why_no_signature, self.why_no_keras))
        if self.keras is None or self.function is not None:
            answer["runner"] = "TensorFlow {}".format(tf.__version__)

    def whole(self, xs):
        if self.function is None:
            return self.keras.whole(xs)
        (specs,) = [spec for spec in self.function.structured_input_signature if isinstance(spec, dict)]
        if len(specs) != 1:
            raise Refused("its signature has {} inputs: {}".format(len(specs), ", ".join(sorted(specs))))
        ((name, spec),) = specs.items()
        batch, steps = [*spec.shape, None, None][:2] if spec.shape.rank else (None, None)
        if steps and steps > len(xs):
            raise Refused("its input has {} steps, more than were compared".format(steps))
        rows = self.np.swapaxes(self.np.repeat(xs[: steps or len(xs), :1], batch or 1, axis=1), 0, 1)
        found = self.function(**{name: self.tf.cast(rows, spec.dtype)})
        values = [found[key].numpy() for key in sorted(found)]
        return [("batch-{}-{}".format(rows.shape[1], rows.shape[0]), {"y": value}) for value in values]

    def prepare_steps(self, xs):
        if self.keras is None:
            raise Refused("a signature gives no state, and Keras does not load it: {}".format(self.why_no_keras))
        return self.keras.prepare_steps(xs)
