"""Logistic regression with a squared-norm penalty: convex, so there is no seed."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from safeft.judges.head import Floats


def logistic(inputs_NF: Floats, target_N: Floats, weight_N: Floats, penalty: float) -> Floats:
    """The coefficients, with the bias last, shape (features + 1,)."""

    def loss(solution: Floats) -> tuple[float, Floats]:
        logit = inputs_NF @ solution[:-1] + solution[-1]
        value = weight_N @ (np.logaddexp(0, logit) - target_N * logit)
        error = weight_N * (expit(logit) - target_N)
        gradient = np.append(inputs_NF.T @ error + penalty * solution[:-1], error.sum())
        return float(value + penalty * solution[:-1] @ solution[:-1] / 2), gradient

    start = np.zeros(inputs_NF.shape[1] + 1)
    options = {"maxiter": 2000, "maxfun": 4000}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options=options)
    return np.asarray(found.x, dtype=np.float32)
