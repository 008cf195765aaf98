"""The words that the kernels are written in beyond Numba's own: on a device, or in Numba's simulator."""

from __future__ import annotations

from numba import config

if config.ENABLE_CUDASIM:
    from fastlstm.backends.cuda import simulated as chosen
    from fastlstm.backends.cuda import simulated as words
else:
    from fastlstm.backends.cuda import intrinsics as chosen  # type: ignore[no-redef]
    from fastlstm.backends.cuda import words  # type: ignore[no-redef]

LANES = chosen.LANES
load4 = chosen.load4  # of the benchmarks
no_sums = chosen.no_sums
multiplied = chosen.multiplied
of = chosen.of
get = chosen.get
put = chosen.put
few_of = chosen.few_of
many_of = chosen.many_of
copy4 = chosen.copy4
quotient = chosen.quotient
post = words.post
peek = words.peek
arrive = words.arrive
arrivals = words.arrivals
apart = chosen.apart
pause = words.pause
warp_sums = chosen.warp_sums
warp_sum = chosen.warp_sum
warp_largest = chosen.warp_largest
