"""A function and all that it calls as one module of LLVM, optimised once.

By itself Numba optimises every function that is called, and emits its machine code, and does so again in each one that
calls it: a few times the work, and each function is optimised without knowledge of its callers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from llvmlite import binding
from numba import njit
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

from fastlstm.backends.jit import JIT


class _Part(JITCodeLibrary):
    """What is linked into something else and never called from Python: kept as Numba's lowering has left it."""

    def _is_called_from_python(self) -> bool:
        return any(f.name.startswith("_ZN7cpython") and not f.is_declaration for f in self._final_module.functions)

    def _optimize_functions(self, ll_module: Any) -> None:
        pass

    def _optimize_final_module(self) -> None:
        if self._is_called_from_python():
            super()._optimize_final_module()

    def _finalize_final_module(self) -> None:
        if self._is_called_from_python():
            super()._finalize_final_module()
        else:
            self._finalized = True


@contextmanager
def _in_parts() -> Iterator[None]:
    """Whatever Numba compiles meanwhile, in this thread alone, is not finished where it need not be."""
    codegen = cpu_target.target_context.codegen()

    def set_env(name: str, env: Any) -> None:
        """Numba's, which looks for the place in machine code: a part has none."""
        if codegen._engine.is_symbol_defined(name):
            type(codegen).set_env(codegen, name, env)

    with global_compiler_lock:
        codegen._library_class, codegen.set_env = _Part, set_env
        try:
            yield
        finally:
            del codegen._library_class, codegen.set_env


def lowered(function: Callable[..., Any], signature: Any) -> tuple[Any, binding.ModuleRef]:
    """Numba's result of a compilation, and its module, which is not optimised."""
    dispatcher = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **JIT)(getattr(function, "py_func", function))
    with _in_parts():
        dispatcher.compile(signature.args)
    compiled = dispatcher.overloads[signature.args]
    return compiled, binding.parse_assembly(compiled.library.get_llvm_str())


def machine_code(module: binding.ModuleRef, ways_in: Sequence[str]) -> bytes:
    """An object file of the module, where nothing but `ways_in` can be seen from outside."""
    for function in module.functions:
        if not function.is_declaration and function.name not in ways_in:
            function.linkage = "internal"  # so that LLVM knows all callers, and what they pass
    codegen = cpu_target.target_context.codegen()
    with global_compiler_lock:
        library = codegen.create_library(ways_in[0])
        library.add_llvm_module(module)
        library._optimize_final_module()
        return codegen._tm.emit_object(library._final_module)
