"""A Gaussian process for tens to hundreds of points.

The kernel is a Matern 5/2 with a length scale for each parameter, plus a trend: a line and a parabola in each
parameter. Real losses are often nearly that (a bowl in each parameter), and the trend learns it from few points.

The hyperparameters are the most probable ones. Long length scales are expected the more, the more parameters there
are, as distances in a cube grow with the root of its dimension (Hvarfner, Hellsten, Nardi, 2024, arXiv 2402.02229).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, lapack, solve_triangular  # type: ignore[import-untyped]
from scipy.optimize import minimize  # type: ignore[import-untyped]

from mlgate.core.vizier.encoding import Array

Indices = NDArray[np.intp]

_ROOT5 = math.sqrt(5.0)
_JITTER = 1e-8
_MOST_FITTED = 100  # observations that the hyperparameters are fitted to; the process itself takes all
_STEPS = 30  # of the search for hyperparameters; more of them change no result that was measured
# Mode and spread of the logarithms of the hyperparameters, before any data. Length scales: see `_Posterior`.
_SCALE_SPREAD = math.sqrt(3.0)
_TREND_MODE, _TREND_SPREAD = -3.0, 2.0
_NOISE_MODE, _NOISE_SPREAD = -6.0, 2.0


class GaussianProcess:
    def __init__(self, x: Array, y: Array, owner: Indices, theta: Array) -> None:
        """`theta`: the logarithms of the length scales and of the variances of trend, Matern part and noise."""
        self.weights = np.exp(-2 * theta[:-3])[owner]
        self.trend, self.variance, self.noise = np.exp(theta[-3:]).tolist()
        self.condition(x, y)

    def condition(self, x: Array, y: Array) -> None:
        """Take these observations instead of the ones before; the hyperparameters stay. Where `y` has columns, each is
        a case of its own, and there are as many means."""
        self.x, self.curves = x, _curves(x)
        k = self._kernel(x)
        k.flat[:: len(x) + 1] += self.noise + _JITTER
        self.cholesky = np.linalg.cholesky(k)
        self.alpha: Array = cho_solve((self.cholesky, True), y, check_finite=False)

    def predict(self, a: Array) -> tuple[Array, Array]:
        """Mean and standard deviation at these points, without the noise of an observation."""
        k = self._kernel(a)
        v = solve_triangular(self.cholesky, k.T, lower=True, check_finite=False)
        prior = self.variance + self.trend * np.square(_curves(a)).sum(axis=1)
        return k @ self.alpha, np.sqrt(np.maximum(prior - np.square(v).sum(axis=0), 1e-12))

    def drawn(self, a: Array, normals: Array) -> Array:
        """Outcomes that these points may have together: a row for each row of standard normal numbers."""
        k = self._kernel(a)
        v = solve_triangular(self.cholesky, k.T, lower=True, check_finite=False)
        covariance = self._between(a, a, _curves(a)) - v.T @ v
        covariance.flat[:: len(a) + 1] += 1e-6 * (self.variance + self.trend)
        return np.asarray(k @ self.alpha + normals @ np.linalg.cholesky(covariance).T)

    def slopes(self, a: Array, columns: Indices) -> tuple[Array, float, Array, Array]:
        """Means and standard deviation at one point, and how they change along these columns."""
        gaps, line = self.x - a, 2 * a - 1
        weighted, curves = gaps * self.weights, np.concatenate([line, line * line])
        squared = np.einsum("ij,ij->i", weighted, gaps)
        r = _ROOT5 * np.sqrt(squared)
        e = self.variance * np.exp(-r)
        k = (1 + r + (5 / 3) * squared) * e + self.trend * (self.curves @ curves)
        # Mean and what the observations explain of the variance are both this kernel times a vector; so are the slopes.
        both = np.vstack([self.alpha.T, lapack.dpotrs(self.cholesky.T, k, lower=0)[0]])
        values = both @ k
        sd = math.sqrt(max(self.variance + self.trend * float(curves @ curves) - float(values[-1]), 1e-12))
        lines, squares = (both @ self.curves).reshape(len(both), 2, -1).swapaxes(0, 1)
        slopes = (both * ((5 / 3) * (1 + r) * e)) @ weighted + (2 * self.trend) * (lines + 2 * line * squares)
        half_prior = (2 * self.trend) * line * (1 + 2 * line * line)
        return values[:-1], sd, slopes[:-1, columns], (half_prior - slopes[-1])[columns] / sd

    def _kernel(self, a: Array) -> Array:
        """The kernel between these points and the observed ones."""
        return self._between(a, self.x, self.curves)

    def _between(self, a: Array, b: Array, curves: Array) -> Array:
        weighted = a * self.weights
        squared = (weighted * a).sum(axis=1)[:, None] + np.square(b) @ self.weights - 2 * weighted @ b.T
        np.maximum(squared, 0.0, out=squared)
        r = _ROOT5 * np.sqrt(squared)
        k = (1 + r + (5 / 3) * squared) * (self.variance * np.exp(-r)) + self.trend * (_curves(a) @ curves.T)
        return np.asarray(k)


def fit(x: Array, y: Array, owner: Indices) -> GaussianProcess:
    """The process with the most probable hyperparameters for standardized `y`.

    `owner` names the parameter that each column of `x` belongs to: 0, 0, 1, 2, 2, ...
    """
    some = np.linspace(0, len(x) - 1, min(len(x), _MOST_FITTED)).astype(int)
    posterior = _Posterior(x[some], y[some], owner)
    scales = posterior.scales
    bounds = [(-4.0, 6.0)] * scales + [(-12.0, 3.0), (-3.0, 3.0), (math.log(1e-6), math.log(0.5))]
    start = np.r_[np.full(scales, max(posterior.centre + 1, -1.0)), _TREND_MODE, 0.0, math.log(1e-3)]
    found = minimize(posterior, start, jac=True, bounds=bounds, method="L-BFGS-B", options={"maxiter": _STEPS})
    return GaussianProcess(x, y, owner, found.x)


def _curves(x: Array) -> Array:
    """The line and the parabola of each column."""
    centred = 2 * x - 1
    return np.hstack([centred, centred**2])


class _Posterior:
    """Minus the logarithm of the posterior density of the hyperparameters, with its gradient.

    It works on pairs of points, each pair once: half the exponentials, and one product of matrix and vector for the
    gradient by all length scales.
    """

    def __init__(self, x: Array, y: Array, owner: Indices) -> None:
        self.y, self.n, self.scales = y, len(x), int(owner[-1]) + 1
        self.centre = math.sqrt(2.0) + math.log(self.scales) / 2 - _SCALE_SPREAD**2
        self.mode = np.r_[np.full(self.scales, self.centre), _TREND_MODE, 0.0, _NOISE_MODE]
        self.spread = np.r_[np.full(self.scales, _SCALE_SPREAD), _TREND_SPREAD, 1.0, _NOISE_SPREAD]
        self.rows, self.columns = np.tril_indices(self.n, -1)
        squares = np.square(x[self.rows] - x[self.columns])
        first = np.searchsorted(owner, np.arange(self.scales))
        self.distances = np.ascontiguousarray(np.add.reduceat(squares, first, axis=1).T)
        trend = _curves(x) @ _curves(x).T
        self.trend_pairs, self.trend_diagonal = trend[self.rows, self.columns], np.diag(trend)

    def __call__(self, theta: Array) -> tuple[float, Array]:
        weights = np.exp(-2 * theta[:-3])
        trend, variance, noise = np.exp(theta[-3:]).tolist()
        squared = weights @ self.distances
        r = _ROOT5 * np.sqrt(squared)
        e = variance * np.exp(-r)
        pairs = (1 + r + (5 / 3) * squared) * e
        k = np.zeros((self.n, self.n))
        k[self.rows, self.columns] = pairs + trend * self.trend_pairs
        k.flat[:: self.n + 1] = variance + noise + _JITTER + trend * self.trend_diagonal
        cholesky, failed = lapack.dpotrf(k, lower=1, clean=0)
        if failed:
            return 1e10, np.zeros_like(theta)
        inverse = lapack.dpotri(cholesky, lower=1)[0]
        alpha, diagonal = lapack.dpotrs(cholesky, self.y, lower=1)[0], inverse.diagonal()
        value = 0.5 * float(self.y @ alpha) + float(np.log(cholesky.diagonal()).sum())

        # The gradient by the entries of k: G = (inverse of k - alpha alpha') / 2, of which each pair counts twice.
        g_pairs = inverse[self.rows, self.columns] - alpha[self.rows] * alpha[self.columns]
        g_diagonal = 0.5 * (diagonal - alpha**2)
        by_scales = (5 / 3) * weights * (self.distances @ (g_pairs * (1 + r) * e))
        by_trend = trend * float(g_pairs @ self.trend_pairs + g_diagonal @ self.trend_diagonal)
        by_variance = float(g_pairs @ pairs) + variance * float(g_diagonal.sum())
        by_noise = noise * float(g_diagonal.sum())

        off = (theta - self.mode) / self.spread
        gradient = np.concatenate([by_scales, (by_trend, by_variance, by_noise)]) + off / self.spread
        return value + 0.5 * float(off @ off), gradient
