"""Which calls of the driver a call of ours comes to, counted on the driver of paper by numba-cuda's own code."""

from tests.cuda.test_device import driver, python, real  # noqa: F401

START = """
import json, os, sys
os.environ["FAKE_SAY"] = "1"
import numpy as np
import fastlstm
from fastlstm.backends.cuda import calls, driver, memory
from tests import models
from tests.cuda.layouts import laid_out

calls.prepare = lambda kernel, argument_types: 0x20  # nothing is computed, so nothing is compiled

def vectors(**more):
    rng = np.random.default_rng(1)
    kinds = models.lstm(rng, 3, 4, projection=2), models.gru(rng, 2, 5), models.dense(rng, 5, 3)
    return fastlstm.Model(models.layers_of(kinds, "float32"), device="cuda", **more)

def ids():
    rng = np.random.default_rng(1)
    kinds = models.embedding(rng, 7, 3), models.lstm(rng, 3, 4), models.dense(rng, 4, 7)
    return fastlstm.Model(models.layers_of(kinds, "float32"), device="cuda")

def said(name, call, *arguments, **more):
    print("##", name, flush=True)
    try:
        found = call(*arguments, **more)
    except Exception as error:
        found = error
        print("!!", type(error).__name__ + ": " + str(error), flush=True)
    print("##", "else", flush=True)
    return found

class Foreign:
    def __init__(self, array, **more):
        self.array = memory.put(array)
        self.__cuda_array_interface__ = {"shape": array.shape, "typestr": array.dtype.str, "strides": None,
                                         "data": (self.array.address, False), "version": 3} | more
"""


def calls_of(code, driver, **environment):  # noqa: F811
    """name -> the calls, each with what it is told beside it."""
    found, name = {"else": []}, "else"
    for line in python(START + code, **driver, **environment).splitlines():
        if line.startswith("## "):
            name = line[3:]
            found[name] = []
        else:
            found[name].append(line.strip())
    return found


LAUNCH, SEND, FETCH = "cuLaunchKernelEx", "cuMemcpyHtoD", "cuMemcpyDtoH"


@real
def test_a_stream(driver):  # noqa: F811
    """On the device a step is its launch and nothing else, from the second with an array on; it may be captured."""
    found = calls_of(
        """
model = vectors()
stream, x = model.stream(), Foreign(np.zeros(3, "f"))
said("first", stream.step, x)
said("again", stream.step, x)
said("host", stream.step, np.zeros(3, "f"))
other = Foreign(np.ones(3, "f"), stream=0x70)
said("of another stream", stream.step, other)
said("of the default stream", stream.step, Foreign(np.ones(3, "f"), stream=1))
own = model.stream(cuda_stream=0x70)
said("in its stream", own.step, other)
os.environ["FAKE_CAPTURING"] = "1"
said("captured", own.step, other)
said("captured, its own output", own.step, Foreign(np.ones(3, "f")))
said("captured, from the host", own.step, np.zeros(3, "f"))
os.environ["FAKE_CAPTURING"] = "0"
said("from the host", own.step, np.zeros(3, "f"))
said("process", stream.process, np.zeros((4, 3), "f"))
tokens = ids().stream()
said("id", tokens.step, 2)
said("id there", tokens.step, Foreign(np.array(2)))
own = ids().stream(cuda_stream=0x70)
os.environ["FAKE_CAPTURING"] = "1"
said("id, captured", own.step, Foreign(np.array(2)))
os.environ["FAKE_LAUNCH"] = "906"
said("another capture", stream.step, x)
""",
        driver,
    )
    assert found["first"] == ["cuPointerGetAttribute", LAUNCH]
    assert found["again"] == [LAUNCH]
    assert found["host"] == [SEND, LAUNCH, FETCH]
    first, then = (
        ["cuEventRecord", "0x70", "cuStreamWaitEvent", "0x1"],
        ["cuEventRecord", "0x1", "cuStreamWaitEvent", "0x70"],
    )
    assert found["of another stream"] == ["cuPointerGetAttribute", "cuEventCreate", *first, LAUNCH, *then]
    assert found["of the default stream"] == ["cuPointerGetAttribute", LAUNCH]
    assert found["in its stream"] == [LAUNCH] and found["captured"] == [LAUNCH]
    assert found["captured, its own output"] == ["cuPointerGetAttribute", LAUNCH]
    asked, error = found["captured, from the host"]
    assert (
        asked == "cuStreamIsCapturing"
        and "ArgumentError: step: the CUDA stream is being captured, and x is on" in error
    )
    assert found["from the host"] == [asked, "cuMemcpyHtoDAsync", LAUNCH, "cuMemcpyDtoHAsync", "cuStreamSynchronize"]
    assert found["process"] == [SEND, LAUNCH, FETCH]
    assert found["id"] == [SEND, LAUNCH, FETCH]
    assert found["id there"] == ["cuPointerGetAttribute", FETCH, SEND, LAUNCH]
    assert found["id, captured"][:2] == ["cuPointerGetAttribute", asked]
    assert "ids are looked at on the host" in found["id, captured"][2]
    assert "only Stream.step can be captured, with a device array" in found["another capture"][-1]


@real
def test_calls_of_a_model(driver):  # noqa: F811
    """What a call needs is there from the one before: data go in by one copy and come back by one."""
    found = calls_of(
        """
model, tokens = vectors(), ids()
more = dict(sample=fastlstm.Sampler(0.8), stop=[3], seed=1)
for name in ("first", "again"):
    said("generate, " + name, tokens.generate, 5, [[1, 2]], **more)
    said("run, " + name, model.run, np.zeros((2, 5, 3), "f"))
    said("ragged, " + name, model.run, np.zeros((2, 5, 3), "f"), lengths=[2, 5])
    x = Foreign(np.zeros((2, 3), "f"))
    _, state = said("step there, " + name, model.step, x)
    said("then, " + name, model.step, x, state)
    sizes = [[np.zeros((2, c), "f"), np.zeros((2, h), "f")] for c, h in model.state_sizes]
    theirs = [tuple(map(Foreign, pair)) for pair in sizes]
    said("state of others, " + name, model.step, x, theirs)
    said("state of here, " + name, model.step, x, sizes)
""",
        driver,
    )
    assert found["generate, again"] == [SEND, LAUNCH, FETCH]
    assert found["run, again"] == [SEND, LAUNCH, FETCH]
    assert found["ragged, again"] == [SEND, "cuMemsetD8Async", LAUNCH, FETCH]
    assert len(found["generate, first"]) < 60
    without = {name: [call for call in calls if not call.startswith("cuCtx")] for name, calls in found.items()}
    assert without["step there, again"] == ["cuMemAlloc", "cuMemsetD8Async", "cuPointerGetAttribute", LAUNCH]
    assert without["then, again"][-2:] == ["cuMemcpyDtoDAsync", LAUNCH]  # state and outputs are one allocation
    assert without["then, again"].count("cuMemAlloc") == 1
    of_others, of_here = ([c for c in without[f"state of {w}, again"] if "Mem" in c] for w in ("others", "here"))
    assert of_others == ["cuMemAlloc", *["cuMemcpy3DAsync"] * 3]  # a GRU has no c
    assert of_here == ["cuMemAlloc", *["cuMemAlloc", SEND] * 3, *["cuMemcpy3DAsync"] * 3]


@real
def test_what_is_copied(driver):  # noqa: F811
    """Rows and layers with gaps, states in and out: the driver of paper has memory, in which nothing computes."""
    found = python(
        START
        + """
os.environ["FAKE_SAY"] = "2"
host = np.random.default_rng(0).normal(size=(3, 4, 6)).astype("f")
array = memory.put(host)
right = {}
for k, (axis, begin, end) in enumerate([(0, 1, 3), (1, 1, 3), (2, 2, 5), (1, 2, 3)]):
    part, rows = array.part(begin, end, axis=axis), host.take(range(begin, end), axis=axis)
    right[f"part {k}"] = np.array_equal(part.copy_to_host(), rows)
    target = memory.put(np.zeros((5, 7, 8), "f"))
    inside = target.part(1, 1 + part.shape[0]).part(2, 2 + part.shape[1], axis=1).part(1, 1 + part.shape[2], axis=2)
    memory.copy(part, inside)
    expected = np.zeros((5, 7, 8), "f")
    expected[1:1 + part.shape[0], 2:2 + part.shape[1], 1:1 + part.shape[2]] = rows
    right[f"into {k}"] = np.array_equal(target.copy_to_host(), expected)
right["row"] = np.array_equal(array.at(1, 2).copy_to_host(), host[1, 2])
model, x = vectors(), Foreign(np.zeros((3, 3), "f"))
draw = np.random.default_rng(1).normal
state = [tuple(draw(size=(3, n)).astype("f") for n in sizes) for sizes in model.state_sizes]
def equal(found):
    return all(np.array_equal(a, b) for one, other in zip(found.to_host(), state) for a, b in zip(one, other))
_, after = model.step(x, state)
_, again = model.step(x, after)
_, theirs = model.step(x, [tuple(map(Foreign, pair)) for pair in state])
_, swapped = model.step(x, [(after[0].c, Foreign(state[0][1])), after[1]])
_, back = model.step(np.zeros((3, 3), "f"), after)
_, run = model.run(Foreign(np.zeros((3, 40, 3), "f")), after)
states = {"in": after, "again": again, "of others": theirs, "some": swapped, "back": back, "run": run}
right |= {name: equal(found) for name, found in states.items()}
mixed = fastlstm.State([(memory.put(np.zeros((3, 4), "f")), after[0].h), after[1]])
right["other"] = not equal(model.step(x, mixed)[1])
stream = model.stream()
stream.state = fastlstm.State(state).rows(1)
stream.step(x.__class__(np.zeros(3, "f")))
right["stream"] = all(np.array_equal(a[0], b[1]) for one, other in zip(stream.state, state) for a, b in zip(one, other))
print("right", sum(right.values()), [name for name, value in right.items() if not value])
""",
        **driver,
    ).splitlines()
    assert found[-1 if found[-1].startswith("right") else -2] == "right 17 []"
