"""Finding the GPU, and the errors on the way: by numba-cuda's own code, on this machine and on a driver of paper."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import fastlstm
from fastlstm.backends.cuda import calls, device, memory

FOLDER, REPOSITORY = Path(__file__).parent, Path(__file__).parents[2]
SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
real = pytest.mark.skipif(
    SIMULATED or find_spec("numba_cuda") is None, reason="needs numba-cuda, and not the simulator"
)

# Device attributes by their numbers in cuda.h, as an H200 has them.
H200 = {
    "FAKE_75": 9, "FAKE_76": 0, "FAKE_16": 132, "FAKE_39": 2048, "FAKE_97": 232448, "FAKE_81": 233472, "FAKE_111": 1024,
    "FAKE_82": 65536, "FAKE_38": 62914560, "FAKE_13": 1980000, "FAKE_36": 3201000, "FAKE_37": 6144, "FAKE_95": 1,
}  # fmt: skip
CASES = {
    "H200": ({}, "Properties"),
    "no device": ({"FAKE_INIT": "100"}, "the NVIDIA driver sees no GPU; nvidia-smi has to list one"),
    "hidden": ({"FAKE_INIT": "100", "CUDA_VISIBLE_DEVICES": ""}, "CUDA_VISIBLE_DEVICES is '': it hides the others"),
    "mismatch": ({"FAKE_INIT": "803"}, "parts are of different versions .*SYSTEM_DRIVER_MISMATCH.* restart"),
    "another": ({"FAKE_INIT": "3"}, "driver cannot be used .*CUDA_ERROR_NOT_INITIALIZED"),
    "none counted": ({"FAKE_COUNT": "0"}, "the NVIDIA driver sees no GPU"),
    "old driver": ({"FAKE_VERSION": "11040"}, r"driver is for CUDA 11\.4, and the toolkit .* is 1\d\.\d+.*; update"),
    "old device": ({"FAKE_75": "6", "FAKE_76": "1"}, r"Paper GPU has compute capability 6\.1; 7\.0 is needed"),
    "not at once": ({"FAKE_95": "0"}, "Paper GPU takes no cooperative launches"),
}
SCRIPT = """
import json, os, sys
from numba import cuda
from fastlstm.backends.cuda import device

def found():
    try:
        return repr(device.find())
    except Exception as error:
        return f"{type(error).__name__}: {error}"

def allocated():
    device.find()
    try:
        with device.errors("generate", asked=5 * 10**9):
            cuda.device_array(10**6)
            return "it had room"
    except Exception as error:
        return f"{type(error).__name__}: {error}"

answers = {}
for name, (environment, call) in json.loads(sys.argv[1]).items():  # a driver is started once a process
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.environ.update(environment)
        os.write(writing, globals()[call]().encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answers[name] = pipe.read()
print(json.dumps(answers))
"""
ALLOCATIONS = {
    "out of memory": ("2", r"out of memory: 5,000\.0 MB were asked for, 123\.4 MB of 4,000\.0 MB are free; .*bfloat16"),
    "illegal": ("700", r"stopped at an error \(CUDA_ERROR_ILLEGAL_ADDRESS\), and takes no more calls"),
    "too large": ("720", r"does not take the whole grid at once \(CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE\)"),
    "old driver": ("222", r"does not take what the toolkit compiled \(CUDA_ERROR_UNSUPPORTED_PTX_VERSION\)"),
    "no binary": ("209", r"does not take what the toolkit compiled \(CUDA_ERROR_NO_BINARY_FOR_GPU\)"),
    "capture": ("900", r"a CUDA graph is being captured .*model\.stream\(cuda_stream"),
    "reset": ("709", r"the GPU was reset, or another one .*load the model again"),
    "handle": ("400", r"the GPU was reset, or another one .*load the model again"),
    "forked": ("3", r"forked after CUDA had been started"),
    "timeout": ("702", r"time limit .*smaller n"),
    "another": ("304", r"driver says CUDA_ERROR_OPERATING_SYSTEM"),
}


def python(code, *arguments, **environment):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), **environment}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment, cwd=REPOSITORY
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """The environment in which there is a driver of paper."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs Linux and a C compiler, for a driver of paper")
    folder = tmp_path_factory.mktemp("driver")
    target = ["-shared", "-fPIC", "-o", folder / "libcuda.so.1", FOLDER / "fake_driver.c"]
    subprocess.run([compiler, *target], check=True)
    (folder / "libcuda.so").symlink_to("libcuda.so.1")
    environment = {"LD_LIBRARY_PATH": str(folder), **{name: str(value) for name, value in H200.items()}}
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        yield environment


@pytest.fixture(scope="module")
def on_paper(driver):
    """case -> what is found, or the error."""
    cases = {name: (environment, "found") for name, (environment, _) in CASES.items()}
    cases |= {f"{name} (call)": ({"FAKE_ALLOC": code}, "allocated") for name, (code, _) in ALLOCATIONS.items()}
    return json.loads(python(SCRIPT, json.dumps(cases), **driver))


@real
@pytest.mark.parametrize("case", CASES)
def test_a_driver_of_paper(on_paper, case):
    answer, expected = on_paper[case], CASES[case][1]
    if expected == "Properties":
        found = eval(answer, {"Properties": device.Properties})
        assert 4.9e12 < found.memory_bandwidth < 4.95e12  # the data sheet's 4.8 TB/s are rounded down
        assert found.toolkit >= (12, 0)
        assert found == device.Properties(
            "Paper GPU", (9, 0), 132, 2048, 232448, 233472, 1024, 65536, 60 << 20, 4 * 10**9, 1.98e9,
            found.memory_bandwidth, True, (12, 9), found.toolkit,
        )  # fmt: skip
        return
    assert answer.startswith("DeviceError: ")
    with pytest.raises(fastlstm.DeviceError, match=expected):
        raise fastlstm.DeviceError(answer)
    assert "device='cpu'" in answer


@real
@pytest.mark.parametrize("case", ALLOCATIONS)
def test_errors_of_a_driver_of_paper(on_paper, case):
    with pytest.raises(fastlstm.DeviceError, match=f"^DeviceError: generate: .*{ALLOCATIONS[case][1]}"):
        raise fastlstm.DeviceError(on_paper[f"{case} (call)"])


COPY = """
import os
import numpy as np
from fastlstm.backends.cuda import device, memory

device.find()
array, host = memory.allocated((2, 3), np.float32), np.zeros(6, np.float32)
memory.send(host, array)
memory.fetch(array, host)
print(set(host.view(np.uint8).tolist()), flush=True)
os.environ["FAKE_COPY"] = "700"
try:
    with device.errors("step"):
        memory.fetch(array, host)
except device.DeviceError as error:
    print(error)
"""


@real
def test_copies_on_a_driver_of_paper(driver):
    words = python(COPY, **driver).splitlines()
    assert words[:3] == ["to the device 24 bytes", "from the device 24 bytes", "{7}"]
    assert words[3] == words[1] and words[4].startswith("step: the GPU stopped at an error (CUDA_ERROR_ILLEGAL")


LAUNCH = """
import os, sys
import numpy as np
from numba import cuda, float32, int64
from fastlstm.backends.cuda import calls, device, memory

@cuda.jit
def fill(x, pair, count, value):
    kept = cuda.shared.array(0, float32)
    kept[cuda.threadIdx.x] = value
    if cuda.grid(1) < count:
        x[cuda.grid(1)] = kept[0] + pair[0] * pair[1]

device.find()
types = float32[::1], cuda.types.UniTuple(int64, 2), int64, float32
array = memory.allocated((5,), np.float32)
launcher = calls.Launcher(fill, types, 7, 96, 200_000, (array, (11, -3), 5, 0.0), 48)
calls.prepare(fill, types)
launcher.launch()
launcher.aim(0, array)(0x2000)
launcher.set(1, (12, -4))
launcher.launch()
# As numba-cuda itself would hand them over.
compiled, found = next(iter(fill.overloads.values())), []
for kind, value in zip(compiled.argument_types, (cuda.device_array(5, np.float32), (11, -3), 5, 0.0)):
    compiled._prepare_args(kind, value, 0, [], found)
print(*[getattr(v, "value", v) for v in found], flush=True)
print("---", flush=True)
os.environ["FAKE_LAUNCH"] = sys.argv[1]
try:
    with device.errors("run"):
        launcher.launch()
except device.DeviceError as error:
    print(error)
"""


@real
def test_a_launch_on_a_driver_of_paper(driver):
    """All blocks at once, with more shared memory than 48 KiB; arguments as the compiled kernel takes them."""
    words = python(LAUNCH, "720", FAKE_ARGUMENTS="10", FAKE_1="1024", **driver).splitlines()
    assert words[:3] == [
        "attribute 8 of 0x20: 232448",  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: for every launch's sake
        "0x20: grid 7 1 1, block 96 1 1, shared 200000, stream 0x30, attribute 2: 1",  # CU_LAUNCH_ATTRIBUTE_COOPERATIVE
        "0 0 5 4 4096 5 4 11 -3 5 ",  # an array is its size, item size, address, shape and strides
    ]
    assert words[3] == words[1] and words[4] == "0 0 5 4 8192 5 4 12 -4 5 "
    assert words[5] == words[2] + "0.0" and words[6:9] == ["---", words[1], words[4]]
    assert words[9].startswith("run: the GPU does not take the whole grid at once (CUDA_ERROR_COOPERATIVE_LAUNCH_TOO")
    words = python(LAUNCH, "201", FAKE_ARGUMENTS="10", FAKE_1="1024", **driver).splitlines()
    assert words[7:11] == 2 * words[3:5]  # tried again, in case the thread had no context
    assert words[11].startswith(
        "run: the GPU's context is not that in which the model was loaded (CUDA_ERROR_INVALID_C"
    )


FOUND = """
from fastlstm.backends.cuda import device
try:
    print(device.find())
except device.DeviceError as error:
    print("DeviceError:", error)
"""


@pytest.mark.skipif(SIMULATED, reason="the simulator stands for a device")
def test_this_machine():
    """Whatever it has: a device with sensible figures, or a reason why there is none, and no other error."""
    answer = python(FOUND)
    assert answer.startswith(("Properties(", "DeviceError: "))
    if answer.startswith("DeviceError"):
        assert "pass device='cpu' to run without a GPU" in answer
    else:
        found = eval(answer, {"Properties": device.Properties})
        assert found.multiprocessors > 0 and found.shared_per_block >= 48 << 10 and found.memory_bandwidth > 1e10


@real
def test_switched_off():
    assert "NUMBA_DISABLE_CUDA=1, which switches CUDA off; unset it" in python(FOUND, NUMBA_DISABLE_CUDA="1")


@real
@pytest.mark.parametrize("library", ["cudart", "nvrtc"])
def test_no_toolkit(library):
    """The libraries are looked for by NVIDIA's own code, some of them while numba-cuda is imported."""
    hidden = f"""
from cuda.pathfinder._dynamic_libs import load_nvidia_dynamic_lib as loading
really = loading._load_lib_no_cache
def load(name):
    if name == {library!r}:
        raise loading.DynamicLibNotFoundError(f"Failure finding {{name}}")
    return really(name)
loading._load_lib_no_cache = load
from fastlstm.backends.cuda import device
device._driver = lambda: (12, 9)
"""
    assert f"(Failure finding {library}): pip install 'numba-cuda[cu12]>=0.30'" in python(hidden + FOUND)


def test_no_numba_cuda(monkeypatch):
    monkeypatch.setattr(device, "simulated", lambda: False)
    monkeypatch.setattr(device, "find_spec", lambda name: None)
    with pytest.raises(
        fastlstm.DeviceError, match=r"numba-cuda, which is not installed: pip install 'numba-cuda\[cu12\]>=0.30'"
    ):
        device.find()


@real
def test_both_kinds_of_driver_errors_and_no_others():
    from cuda.bindings.driver import CUresult
    from cuda.core._utils.cuda_utils import CUDAError
    from numba.cuda.cudadrv.driver import CudaAPIError

    code = CUresult.CUDA_ERROR_OUT_OF_MEMORY
    for error in (CudaAPIError(code, f"Call to cuMemAlloc results in {code.name}"), CUDAError(code.name)):
        with (
            pytest.raises(fastlstm.DeviceError, match="run: the GPU is out of memory: ") as caught,
            device.errors("run"),
        ):
            raise error
        assert caught.value.__cause__ is error
    for error in (ValueError("x"), fastlstm.ShapeError("y"), fastlstm.DeviceError("z")):
        with pytest.raises(type(error)) as caught, device.errors("run"):
            raise error
        assert caught.value is error


@pytest.mark.skipif(not SIMULATED, reason="needs the simulator")
def test_the_simulator():
    assert device.find() == device.SIMULATED
    calls.prepare(None, ())  # it has no compiler to ask
    array, host = memory.put(np.zeros(3)), np.arange(3.0)
    memory.send(host, array)
    host[:] = 0
    memory.fetch(array, host)
    np.testing.assert_array_equal(host, [0, 1, 2])
