"""The coefficients of tanh and sigmoid in float32 (fastlstm/backends/sigmoids.py) and their errors.

python tools/fit_tanh.py      (NumPy alone; the same numbers in every run)

Both rest on a best rational approximation of tanh on a short range, found by Remez' exchange. What counts is the error
of the function that is made from it, so each point has a weight:

tanh x = 2 a b / (a^2 + b^2) with a / b = tanh(x / 2). Near +-1 the error of a / b counts by its square alone, which is
why degrees 5 and 6 do what a direct fit of degrees 9 and 8 does, and with less rounding.
exp(2 w) = (b + a) / (b - a) with a / b = tanh w, |w| <= ln(2) / 4: what is left of exp when the power of two is out.
"""

import itertools

import numpy as np

TANH_LIMIT = 9.0  # tanh 9 = 1 - 3e-8, which is 1 in float32
POINTS = 8000


def fit(limit, p, q, weight):
    """x P(x^2) / Q(x^2), the rational nearest to tanh on (0, limit]: its largest |error| / weight(tanh x) is smallest.

    p, q    degrees of P and Q
    ->      P (p + 1,) and Q (q + 1,), lowest power first, Q[0] = 1; the largest |error| / weight
    """
    x = limit * (1 - np.cos(np.linspace(0, np.pi, POINTS + 1)[1:])) / 2
    f = np.tanh(x)
    w = weight(f)
    t = (x / limit)[:, None] ** 2
    top, bottom = x[:, None] * t ** np.arange(p + 1), t ** np.arange(q + 1)
    a, b = _start(top, bottom, f, w)
    for _ in range(40):
        error = ((top @ a) / (bottom @ b) - f) / w
        swings = np.split(np.arange(POINTS), np.flatnonzero(np.diff(np.sign(error))) + 1)
        peaks = np.array([swing[np.abs(error[swing]).argmax()] for swing in swings])
        while len(peaks) > p + q + 2:
            peaks = peaks[1:] if abs(error[peaks[0]]) < abs(error[peaks[-1]]) else peaks[:-1]
        assert len(peaks) == p + q + 2, "the error swings too seldom"
        if np.abs(error).max() < 1.0001 * np.abs(error[peaks]).min():
            break
        signed = np.sign(error[peaks]) * w[peaks]
        a, b = _levelled(top[peaks], bottom[peaks], f[peaks], signed, a, b, np.abs(error).max())
    return a * limit ** (-2.0 * np.arange(p + 1)), b * limit ** (-2.0 * np.arange(q + 1)), np.abs(error).max()


def _start(top, bottom, f, w):
    """Least squares of top a - f bottom b, divided by the bottom of the round before."""
    below = np.ones(len(f))
    for _ in range(30):
        rows = np.hstack([top, -f[:, None] * bottom]) / (w * below)[:, None]
        sizes = np.linalg.norm(rows, axis=0)
        solution = np.linalg.svd(rows / sizes, full_matrices=False)[2][-1] / sizes
        a, b = np.split(solution / solution[top.shape[1]], [top.shape[1]])
        below = np.maximum(np.abs(bottom @ b), 1e-6)
    return a, b


def _levelled(top, bottom, f, signed, a, b, level):
    """Newton's method for the rational whose error at the peaks is `signed` times one level."""
    for _ in range(50):
        goal = f + signed * level
        rows = np.hstack([top, -goal[:, None] * bottom[:, 1:], -(signed * (bottom @ b))[:, None]])
        sizes = np.abs(rows).max(0)
        step = np.linalg.solve(rows / sizes, goal * (bottom @ b) - top @ a) / sizes
        a, b, level = a + step[: len(a)], b + np.append(0, step[len(a) : -1]), level + step[-1]
        if abs(step[-1]) < 1e-12 * abs(level):
            break
    return a, b


def tanh_weight(f):
    """What error of f = tanh(x / 2) makes a relative error of 1 in tanh x; near 1 its square alone counts."""
    return np.minimum(f * (1 + f * f) / (1 - f * f), np.sqrt(6e-8) / 7e-9)


def power_weight(f):
    """What error of f = tanh w makes a relative error of 1 in exp(2 w)."""
    return (1 - f * f) / 2


def tanh_in_float32(x, p, q, fused):
    """As `sigmoids.py` has it, each result rounded; fused(a, b, c) is a * b + c, rounded once or twice."""
    t = x * x
    a = fused(fused(p[2], t, p[1]), t, p[0]) * x
    b = fused(fused(fused(q[3], t, q[2]), t, q[1]), t, q[0])
    n = (a + a) * b
    return n / fused(b - a, b - a, n)


def rounded(p, q):
    """The neighbours in float32 of tanh's coefficients that give the smallest error, and this error."""
    x = np.concatenate([np.linspace(1e-3, 7, 60001), np.linspace(7, TANH_LIMIT, 60001)]).astype(np.float32)
    exact = np.tanh(x.astype(np.float64))
    p, q = p.astype(np.float32), q.astype(np.float32)
    p[0], q[0] = 1, 2  # so that tanh x is x to the last bit where x is small
    found = []
    for steps in itertools.product((-1, 0, 1), repeat=5):
        near_p, near_q = p.copy(), q.copy()
        near_p[1:] += np.float32(steps[:2]) * np.spacing(p[1:])
        near_q[1:] += np.float32(steps[2:]) * np.spacing(q[1:])
        once = tanh_in_float32(x, near_p, near_q, lambda a, b, c: (np.float64(a) * b + c).astype(np.float32))
        twice = tanh_in_float32(x, near_p, near_q, lambda a, b, c: a * b + c)
        found.append((max(np.abs(once - exact).max(), np.abs(twice - exact).max()), steps, near_p, near_q))
    error, _, p, q = min(found, key=lambda one: one[:2])
    return p, q, error


def polynomial(coefficients, variable):
    return " + ".join(f"{np.float32(c):.9g} {variable}^{2 * k}" for k, c in enumerate(coefficients))


def main():
    p, q, error = fit(TANH_LIMIT / 2, 2, 3, tanh_weight)
    p, q = 2 * p / 2.0 ** (2 * np.arange(3) + 1), 2 * q / 4.0 ** np.arange(4)  # of x / 2, both twice as large
    p, q, with_rounding = rounded(p, q)
    print(f"tanh: error of the fit {error:.2g}, in float32 {with_rounding:.3g}")
    print("  a / x =", polynomial(p, "x"))
    print("  b     =", polynomial(q, "x"))
    a, b, error = fit(np.log(2) / 4, 0, 2, power_weight)
    half = np.log(2) / 2  # w = r ln(2) / 2
    print(f"2^r = (b + r) / (b - r): relative error {error:.2g}, a quarter of which reaches the sigmoid")
    print("  b     =", polynomial(b / a * half ** (2 * np.arange(3) - 1), "r"))


if __name__ == "__main__":
    main()
