"""SavedModels of TensorFlow 2."""

from verify_common import CannotRun, Refused, quiet


class Signature:
    """A SavedModel through its signature: no state goes in or comes out, so there are no single steps."""

    def __init__(self, job, answer, np):
        quiet()
        import tensorflow as tf

        self.tf, self.np = tf, np
        answer["runner"] = "TensorFlow {}".format(tf.__version__)
        self.loaded = tf.saved_model.load(job["path"])
        signatures = self.loaded.signatures
        if not len(signatures):
            raise CannotRun("the SavedModel has no signature")
        name = "serving_default" if "serving_default" in signatures else sorted(signatures)[0]
        self.function = signatures[name]
        answer["signature"] = name

    def whole(self, xs):
        (specs,) = [spec for spec in self.function.structured_input_signature if isinstance(spec, dict)]
        if len(specs) != 1:
            raise Refused("its signature has {} inputs: {}".format(len(specs), ", ".join(sorted(specs))))
        ((name, spec),) = specs.items()
        batch, steps = [*spec.shape, None, None][:2] if spec.shape.rank else (None, None)
        if steps and steps > len(xs):
            raise Refused("its input has {} steps, more than were compared".format(steps))
        rows = self.np.swapaxes(self.np.repeat(xs[: steps or len(xs), :1], batch or 1, axis=1), 0, 1)
        found = self.function(**{name: self.tf.cast(rows, spec.dtype)})
        outcomes = []
        for key in sorted(found):
            outcomes.append(("batch-{}-{}".format(rows.shape[1], rows.shape[0]), {"y": found[key].numpy()}))
        return outcomes

    def prepare_steps(self):
        raise Refused("a signature takes whole sequences and gives no state")
