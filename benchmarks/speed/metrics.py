"""Speed of the heatmap metrics against pysaliency and the textbook loops, in one run, and whether they agree.

    python -m benchmarks.speed.metrics                       # 512 x 512
    pip install pysaliency                                   # optional (needs a C compiler); without it: textbook only

Times are processor time, the best of several calls, on one thread. pysaliency 0.2.22 cannot be imported whole with
numpy >= 2.4 or setuptools >= 81, so its files are loaded singly.
"""

import argparse
import importlib.util
import time
from collections.abc import Callable

import numpy as np

from heie_hf import metrics
from heie_hf.metrics.heatmap import MIT_EPS


def make_pair(size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A noisy prediction of a target with two blobs, about 3 % of the image."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    target = sum(np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 0.002) for cx, cy in ((0.3, 0.4), (0.7, 0.6)))
    target = np.where(target > 0.1, target, 0).clip(0, 1)
    return (0.5 * target + 0.5 * rng.random(target.shape)).astype(np.float32).astype(np.float64), target


def auc_loop(prediction: np.ndarray, target: np.ndarray) -> float:
    """The area by definition, one pass over the image per fixated cell: the share of other cells below it."""
    fixated = target > 0
    others = prediction[~fixated]
    shares = [np.mean(others < value) + 0.5 * np.mean(others == value) for value in prediction[fixated]]
    return float(np.mean(shares))


def auc_mit(prediction: np.ndarray, target: np.ndarray) -> float:
    """MIT's AUC_Judd.m without jitter: one pass over the image per fixated cell, curve through the fixated values."""
    values = np.sort(prediction[target > 0])[::-1]
    hits, false_alarms = np.zeros(len(values) + 2), np.zeros(len(values) + 2)
    hits[-1] = false_alarms[-1] = 1
    for i, value in enumerate(values, 1):
        above = np.count_nonzero(prediction >= value)
        hits[i], false_alarms[i] = i / len(values), (above - i) / (prediction.size - len(values))
    return float(np.sum(np.diff(false_alarms) * (hits[1:] + hits[:-1]) / 2))


def krcc_loop(prediction: np.ndarray, target: np.ndarray) -> float:
    """Concordant minus discordant pairs, image by image (no ties here)."""
    agree = sum(
        np.sum(np.sign(prediction[i] - prediction[:i]) * np.sign(target[i] - target[:i]))
        for i in range(1, len(target))
    )
    return float(agree / (len(target) * (len(target) - 1) / 2))


def pysaliency_peers(target: np.ndarray) -> dict[str, Callable]:
    package = importlib.util.find_spec("pysaliency")
    if package is None:
        return {}
    files = {}
    for name in ("metrics", "numba_utils"):
        spec = importlib.util.spec_from_file_location(name, f"{package.submodule_search_locations[0]}/{name}.py")
        files[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(files[name])
    ys, xs = np.nonzero(target)
    theirs, rocs = files["metrics"], files["numba_utils"].general_rocs_per_positive_numba
    return {
        "kld": theirs.MIT_KLDiv,
        "cc": theirs.CC,
        "sim": theirs.SIM,
        "nss": lambda p, g: theirs.NSS(p, xs, ys).mean(),
        "auc_judd": lambda p, g: rocs(p[g > 0], p[g == 0]).mean(),
    }


def best_time(function: Callable, arguments: tuple, repeats: int) -> tuple[float, float]:
    """(seconds, result); the first call is not timed, it may compile."""
    value, times = function(*arguments), []
    for _ in range(repeats):
        start = time.process_time()
        function(*arguments)
        times.append(time.process_time() - start)
    return min(times), value


def report(name: str, ours: Callable, peer_name: str, peer: Callable, pair: tuple, peer_repeats: int = 10) -> None:
    own_time, own = best_time(ours, pair, 20)
    peer_time, theirs = best_time(peer, pair, peer_repeats)
    ratio, difference = peer_time / own_time, abs(own - theirs)
    print(f"| {name} | {1e3 * own_time:.2f} | {peer_name} | {1e3 * peer_time:.2f} | {ratio:.1f} | {difference:.1e} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--num-scores", type=int, default=955)
    options = parser.parse_args()
    prediction, target = pair = make_pair(options.size)
    print(f"{options.size} x {options.size}, {np.count_nonzero(target)} fixated cells; numpy {np.__version__}\n")
    print("| metric | ours, ms | peer | peer, ms | peer / ours | difference |\n|---|---|---|---|---|---|")
    np.seterr(divide="ignore")  # pysaliency takes the logarithm of zero
    for name, peer in pysaliency_peers(target).items():
        ours = getattr(metrics, name) if name != "kld" else lambda p, g: metrics.kld(p, g, eps=MIT_EPS)
        report(name, ours, "pysaliency", peer, pair)
    report("auc_judd", metrics.auc_judd, "definition, loop", auc_loop, pair, 1)
    report("auc_judd", metrics.auc_judd, "MIT code, loop", auc_mit, pair, 1)
    scores = tuple(np.random.default_rng(1).random((2, options.num_scores)))
    report(f"krcc, n = {options.num_scores}", metrics.krcc, "definition, loop", krcc_loop, scores, 1)
    seconds, _ = best_time(lambda p, g: metrics.image_metrics(p, g)["mse"], pair, 5)
    print(f"\nAll heatmap metrics of one image: {1e3 * seconds:.1f} ms, {1 / seconds:.0f} images/s")
    half_step = np.mean(prediction[target == 0] >= prediction[target > 0].min()) / (2 * np.count_nonzero(target))
    print(f"MIT's curve leaves out the corners between fixated values, which adds {half_step:.1e} here")


if __name__ == "__main__":
    main()
