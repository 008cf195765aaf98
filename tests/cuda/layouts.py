"""Small grids for the simulator, instead of what `fit.py` would choose for a GPU."""

from unittest import mock

from fastlstm.backends.cuda import program as p
from fastlstm.backends.cuda.fit import Fit


def laid_out(**options):
    """In the block, every batch is laid out so: see `layout`."""
    from fastlstm.backends.cuda import backend

    return mock.patch.object(backend, "fit", lambda sizes, device, batch: layout(sizes, batch, **options))


def layout(sizes, batch, *, unit_groups=1, row_groups=1, rows=None, warps=2, resident=True, arena_resident=True):
    """A batch laid out so.

    resident  whether each product's slice is, or a function of its number; or how much of it
    rows      of a group: None, as many as it takes, or a function of the batch
    """
    from fastlstm.backends.cuda.primitives import LANES

    of_group = (rows(batch) if callable(rows) else rows) or -(-batch // row_groups)
    launches = -(-batch // (row_groups * of_group))
    chosen = [resident if not callable(resident) else resident(k) for k in range(len(sizes.products))]
    kept = [min(each.column_bytes, 16 * int(share * each.column_bytes / 16 + 0.99))
            for each, share in zip(sizes.products, chosen, strict=True)]  # fmt: skip
    parts = [of_group * p.ROW_BYTES, sizes.operations * p.COLUMNS * 4]
    parts += [of_group * sizes.own_places(unit_groups)[1] * sizes.itemsize] if arena_resident else []
    for product, stays in zip(sizes.products, kept, strict=True):
        parts += [-(-product.units // unit_groups) * product.columns * stays]
    shared = p.SCRATCH_BYTES + sum(-(-part // 16) * 16 for part in parts)
    return Fit(row_groups, unit_groups, of_group, launches, warps * LANES, tuple(kept), arena_resident, shared,
               0.0, 0.0, "a test's layout")  # fmt: skip
