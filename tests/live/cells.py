"""Cells and heads: what TensorFlow 1 is asked for, and the same as a layer of fastlstm."""

from dataclasses import dataclass, fields

import fastlstm


@dataclass(frozen=True)
class Cell:
    """One cell, by the names of TensorFlow's own arguments; `residual` and `dropout` are its wrappers."""

    units: int = 12
    basic: bool = False
    forget_bias: float = 1.0
    activation: str = "tanh"
    use_peepholes: bool = False
    num_proj: int | None = None
    cell_clip: float | None = None
    proj_clip: float | None = None
    residual: bool = False
    dropout: bool = False

    def __str__(self):
        """What differs from the default, for the name of a test."""
        said = [(f.name, getattr(self, f.name)) for f in fields(self) if getattr(self, f.name) != f.default]
        return ",".join(name if value is True else f"{name}={value}" for name, value in said) or "default"

    def build(self, tf, dtype):
        v1, rnn = tf.compat.v1, tf.compat.v1.nn.rnn_cell
        activation = getattr(tf.nn, self.activation)
        if self.basic:
            cell = rnn.BasicLSTMCell(self.units, self.forget_bias, activation=activation)
        else:
            cell = rnn.LSTMCell(
                self.units, self.use_peepholes, self.cell_clip, num_proj=self.num_proj, proj_clip=self.proj_clip,
                forget_bias=self.forget_bias, activation=activation,
            )  # fmt: skip
        if self.dropout:
            cell = rnn.DropoutWrapper(cell, output_keep_prob=v1.placeholder_with_default(tf.ones([], dtype), []))
        return rnn.ResidualWrapper(cell) if self.residual else cell

    def layer(self, variables):
        """The layer with TensorFlow's variables, which are called by the last parts of their names."""
        kernel = variables["kernel"]
        inputs = len(kernel) - (self.num_proj or self.units)
        return fastlstm.LSTM(
            kernel[:inputs],
            kernel[inputs:],
            variables["bias"],
            gate_order="tensorflow1",
            forget_bias=self.forget_bias,
            activation=self.activation,
            peepholes=[variables[f"w_{gate}_diag"] for gate in "ifo"] if self.use_peepholes else None,
            projection=variables["projection/kernel"] if self.num_proj else None,
            cell_clip=self.cell_clip,
            proj_clip=self.proj_clip,
            residual=self.residual,
        )


@dataclass(frozen=True)
class Head:
    """A dense layer at the end; its variables are called `names`."""

    outputs: int
    names: tuple[str, str]
    activation: str | None = None
