"""Keras' layer classes: which run, which are skipped, and why the others are refused."""

from __future__ import annotations

from fastlstm.errors import RecognitionError

EXPECTED = (
    "fastlstm runs a chain with one input and one output: an Embedding, Masking, LSTM, GRU, Bidirectional and Dense "
    "layers (Dropout is skipped, an Activation is taken into the Dense before it)"
)

#: Layers that hand on what they are given when a trained model runs.
IDENTITY = {
    "ActivityRegularization",
    "AlphaDropout",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "InputLayer",
    "SpatialDropout1D",
}
ACTIVATIONS = {"Activation", "ELU", "LeakyReLU", "ReLU", "Softmax"}
LSTMS = {"LSTM", "CuDNNLSTM"}
GRUS = {"GRU", "CuDNNGRU"}
#: What has a state: these, and a Bidirectional of them.
RECURRENT = LSTMS | GRUS | {"Bidirectional"}
CUDNN = {"CuDNNLSTM", "CuDNNGRU"}
#: The cell of each class that an RNN may run, and the layer that it stands for.
CELLS = {"LSTMCell": "LSTM", "GRUCell": "GRU"}
#: Without weights, and yet more than handing on.
SEQUENCE = {"Masking", "Reverse"}

WHY_NOT = {
    "BatchNormalization": "fold it into the Dense beside it and save the model again",
    "SimpleRNN": "it is a recurrent layer, but neither an LSTM nor a GRU",
    "ConvLSTM1D": "its gates are convolutions",
    "ConvLSTM2D": "its gates are convolutions",
    "ConvLSTM3D": "its gates are convolutions",
    "Conv1D": "it needs several steps of the sequence at once",
    "RepeatVector": "it needs the whole sequence before the next layer can start",
    "Flatten": "it needs the whole sequence at once",
    "Lambda": "its Python code is not something that fastlstm runs",
    "PReLU": "its slopes are weights of their own",
    "ThresholdedReLU": "fastlstm has no such activation",
} | dict.fromkeys(
    ["Add", "Average", "Concatenate", "Dot", "Maximum", "Merge", "Minimum", "Multiply", "Subtract"],
    "it joins several branches",
)


def refusal(source: str, name: str, kind: str, why: str) -> RecognitionError:
    return RecognitionError(f"{source}: layer {name!r} is a {kind}, which is not supported: {why}. {EXPECTED}")
