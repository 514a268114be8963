"""How a forest is grown, and how LightGBM's trees become the arrays of `router/trees.py`. Owns the growth's numbers."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np

from router.trees import Forest

ROUNDS = 400
GROWTH = {
    "objective": "l2",
    "num_leaves": 8,
    "learning_rate": 0.02,
    "min_data_in_leaf": 30,
    "feature_fraction": 0.08,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 10.0,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,  # one per forest, several forests at once: threads that wait for each other stall a busy machine
    "verbose": -1,
}


def as_forest(booster: lightgbm.Booster) -> Forest:
    """LightGBM's trees as arrays; the prediction is the same."""
    kept: dict[str, list[Any]] = {"feature": [], "left": [], "right": [], "threshold": [], "value": []}
    roots, depth = [], 0
    for tree in booster.dump_model()["tree_info"]:
        root, height = _grow(tree["tree_structure"], kept)
        roots.append(root)
        depth = max(depth, height)
    return Forest(
        roots=np.array(roots, np.int32),
        feature=np.array(kept["feature"], np.int32),
        left=np.array(kept["left"], np.int32),
        right=np.array(kept["right"], np.int32),
        threshold=np.array(kept["threshold"], np.float64),
        value=np.array(kept["value"], np.float64),
        depth=depth,
        scale=1.0,
    )


def _grow(node: dict[str, Any], kept: dict[str, list[Any]]) -> tuple[int, int]:
    """Append a node and everything below it; its number and how deep it goes."""
    at = len(kept["feature"])
    leaf = "leaf_value" in node
    kept["feature"].append(0 if leaf else node["split_feature"])
    kept["threshold"].append(0.0 if leaf else node["threshold"])
    kept["value"].append(node["leaf_value"] if leaf else 0.0)
    kept["left"].append(at)
    kept["right"].append(at)
    if leaf:
        return at, 0
    kept["left"][at], left = _grow(node["left_child"], kept)
    kept["right"][at], right = _grow(node["right_child"], kept)
    return at, 1 + max(left, right)
