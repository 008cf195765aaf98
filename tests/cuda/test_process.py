"""What can become of a process: CUDA closed, a fork, another library that does not work; on the driver of paper."""

import pytest

from tests.cuda.test_device import driver, python, real  # noqa: F401
from tests.cuda.test_driver_calls import LAUNCH, START, calls_of


@real
def test_closed(driver):  # noqa: F811
    """What lay on the GPU is gone: every call says so, and a model that is loaded then works."""
    found = calls_of(
        """
from numba import cuda
from fastlstm.backends.cuda import kernels
model, x = vectors(), Foreign(np.zeros((1, 3), "f"))
stream = model.stream()
y, state = model.step(x)
said("before", stream.step, np.zeros(3, "f"))
cuda.close()
said("step", model.step, np.zeros(3, "f"))
said("there", model.step, x, state)
said("generate", model.generate, 2)
said("run", model.run, np.zeros((2, 3), "f"))
said("stream", model.stream)
said("stream.step", stream.step, np.zeros(3, "f"))
said("stream.process", stream.process, np.zeros((2, 3), "f"))
said("stream.state", lambda: stream.state)
said("stream.reset", stream.reset)
again = vectors()
said("again", again.generate, 2)
said("step", model.step, np.zeros(3, "f"))
""",
        driver,
    )
    assert LAUNCH in found.pop("before") and LAUNCH in found.pop("again")
    del found["else"]
    for name, calls in found.items():
        assert len(calls) == 1 and "DeviceError: " in calls[0], (name, calls)
        assert "CUDA was closed after the model was loaded" in calls[0] and "load it again" in calls[0]


@real
def test_kernels_are_loaded_again(driver):  # noqa: F811
    """What a kernel may have is the context's to know."""
    words = python(
        """
from numba import cuda, float32
from fastlstm.backends.cuda import calls, device
@cuda.jit
def fill(x):
    x[0] = 1
device.find()
types = (float32[::1],)
for k in range(2):
    calls.prepare(fill, types)
    print("--", flush=True)
cuda.close()
calls.prepare(fill, types)
""",
        FAKE_SAY="1",
        **driver,
    )
    first, again, after = words.split("--")
    assert "cuLibraryLoadData" in first and "cuKernelSetAttribute" in first
    assert "cuLibraryLoadData" not in again and "cuKernelSetAttribute" not in again
    assert "cuKernelSetAttribute" in after


@real
@pytest.mark.parametrize(
    "call", ["model.step(np.zeros(3, 'f'))", "stream.step(np.zeros(3, 'f'))", "vectors()", "y.copy_to_host()"]
)
def test_forked(driver, call):  # noqa: F811
    found = python(
        START
        + f"""
model = vectors()
stream = model.stream()
y, _ = model.step(Foreign(np.zeros((1, 3), "f")))
sys.stdout.flush()
child = os.fork()
if child == 0:
    os.environ["FAKE_COPY"] = "3"  # CUDA_ERROR_NOT_INITIALIZED, as a driver says then
    try:
        {call}
        print("!! it ran", flush=True)
    except Exception as error:
        print("!!", type(error).__name__ + ":", error, flush=True)
    os._exit(0)
os.waitpid(child, 0)
""",
        **driver,
    ).splitlines()
    (found,) = [line for line in found if line.startswith("!! ")]
    assert found.startswith("!! DeviceError: ") and "forked after CUDA had been started" in found and "'spawn'" in found


CUPY = {
    "another CUDA's": ("import cupy_backends_of_another", "ModuleNotFoundError: No module named 'cupy_backends_of"),
    "broken": ("raise AttributeError('_core')", "AttributeError: _core"),
    "without cuBLAS": (
        "def asarray(a): raise RuntimeError('CUBLAS_STATUS_NOT_INITIALIZED')",
        "RuntimeError: CUBLAS_STATUS_NOT",
    ),
}


@real
@pytest.mark.parametrize("case", CUPY)
def test_a_cupy_that_does_not_work(driver, tmp_path, case):  # noqa: F811
    """Our own kernel computes the products then, and the report says so. CuPy is tried once."""
    source, message = CUPY[case]
    (tmp_path / "cupy.py").write_text(f"print('## cupy', flush=True)\nprint('## else', flush=True)\n{source}\n")
    code = f"""
sys.path.append({str(tmp_path)!r})
model = vectors()
said("report before", lambda: print(model.report))
said("run", model.run, np.zeros((2, 40, 3), "f"))
said("again", model.run, np.zeros((2, 40, 3), "f"))
said("report", lambda: print(model.report))
"""
    found = calls_of(code, driver)
    assert found["again"].count(LAUNCH) == 2  # the products, and the loop
    report = "\n".join(found["report"])
    assert "CuPy does not work here" in report and message in report and "fastlstm's own kernel" in report
    assert "CuPy" not in "\n".join(found["report before"]) and "one sequence on the GPU" in report


WORKING = """
import fake
class Array:
    T = property(lambda self: self)
    def __iadd__(self, other): return self
def asarray(a): return Array()
def matmul(a, b, out): fake.said("matmul")
class Stream:
    def synchronize(self): pass
class cuda:
    get_current_stream = Stream
"""


@real
def test_cupy(driver, tmp_path):  # noqa: F811
    (tmp_path / "cupy.py").write_text(WORKING)
    (tmp_path / "fake.py").write_text("def said(name): print(name, flush=True)")
    code = f"""
sys.path.append({str(tmp_path)!r})
model = vectors()
model.run(np.zeros((2, 40, 3), "f"))
said("run", model.run, np.zeros((2, 40, 3), "f"))
said("report", lambda: print(model.report))
"""
    found = calls_of(code, driver)
    assert found["run"].count("matmul") == 1 and found["run"].count(LAUNCH) == 1
    assert "CuPy" not in "\n".join(found["report"])


@real
def test_the_gpu_is_looked_for_once(driver):  # noqa: F811
    found = calls_of('said("first", vectors)\nsaid("again", vectors)', driver)
    assert found["first"].count("cuDriverGetVersion") == 1 and "cuMemAlloc" in found["again"]
    assert not {"cuDriverGetVersion", "cuDeviceGetCount", "cuMemGetInfo"} & set(found["again"])


@real
def test_nothing_can_be_kept():
    """One warning, and kernels that are compiled in each process."""
    found = python(
        """
import warnings
from numba.cuda.core import caching
caching.CacheImpl._locator_classes.clear()
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from fastlstm.backends.cuda import kernels
print(len(caught), caught[0].category.__name__, caught[0].message)
print(kernels.loop.py_func.__name__)
"""
    ).splitlines()
    assert found[0].startswith("1 RuntimeWarning fastlstm: compiled CUDA kernels cannot be kept") and found[1] == "loop"


@real
@pytest.mark.parametrize("batch", [1, 64, 4096])
def test_batches(driver, batch):  # noqa: F811
    """As many launches as the layout says, whatever the call."""
    code = f"""
batch = {batch}
model, tokens = vectors(), ids()
print("## fit\\n", model.backend.fitted(batch).launches, tokens.backend.fitted(batch).launches, flush=True)
said("run", model.run, np.zeros((batch, 2, 3), "f"), lengths=np.arange(batch) % 3)
said("there", model.run, Foreign(np.zeros((batch, 2, 3), "f")))
said("generate", tokens.generate, 3, np.zeros((batch, 1), int), stop=[2], seed=1)
"""
    found = calls_of(code, driver)
    run, generate = map(int, found["fit"][0].split())
    products = 1 if 2 * batch >= 64 else 0
    assert (found["run"].count(LAUNCH), found["there"].count(LAUNCH)) == (run * (1 + products),) * 2
    assert found["generate"].count(LAUNCH) == generate
    assert not [line for calls in found.values() for line in calls if line.startswith("!!")]
