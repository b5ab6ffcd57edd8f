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
from types import ModuleType

import numpy as np

from heie_hf import metrics
from heie_hf.metrics.heatmap import MIT_EPS

BLOBS = ((0.3, 0.4), (0.7, 0.6))  # x, y


def make_pair(size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A noisy prediction of a target with two blobs, about 3 % of the image."""
    y, x = np.mgrid[:size, :size] / size
    target = np.zeros((size, size))
    for blob_x, blob_y in BLOBS:
        distance = (x - blob_x) ** 2 + (y - blob_y) ** 2
        target += np.exp(-distance / 0.002)
    target[target <= 0.1] = 0
    target = target.clip(0, 1)
    noise = np.random.default_rng(seed).random(target.shape)
    prediction = 0.5 * target + 0.5 * noise
    return prediction.astype(np.float32).astype(np.float64), target


def auc_loop(prediction: np.ndarray, target: np.ndarray) -> float:
    """The area by definition, one pass over the image per fixated cell: the share of other cells below it."""
    is_fixated = target > 0
    others = prediction[~is_fixated]
    shares = []
    for value in prediction[is_fixated]:
        below = np.mean(others < value)
        tied = np.mean(others == value)
        shares.append(below + 0.5 * tied)
    return float(np.mean(shares))


def auc_mit(prediction: np.ndarray, target: np.ndarray) -> float:
    """MIT's AUC_Judd.m without jitter: one pass over the image per fixated cell, curve through the fixated values."""
    values = np.sort(prediction[target > 0])[::-1]
    num_others = prediction.size - len(values)
    hits = np.zeros(len(values) + 2)
    false_alarms = np.zeros(len(values) + 2)
    hits[-1] = 1
    false_alarms[-1] = 1
    for number, value in enumerate(values, 1):
        num_above = np.count_nonzero(prediction >= value)
        hits[number] = number / len(values)
        false_alarms[number] = (num_above - number) / num_others
    heights = (hits[1:] + hits[:-1]) / 2
    return float(np.sum(np.diff(false_alarms) * heights))


def krcc_loop(prediction: np.ndarray, target: np.ndarray) -> float:
    """Concordant minus discordant pairs, image by image (no ties here)."""
    surplus = 0
    for number in range(1, len(target)):
        order = np.sign(prediction[number] - prediction[:number])
        true_order = np.sign(target[number] - target[:number])
        surplus += np.sum(order * true_order)
    num_pairs = len(target) * (len(target) - 1) / 2
    return float(surplus / num_pairs)


def pysaliency_peers(target: np.ndarray) -> dict[str, Callable]:
    package = importlib.util.find_spec("pysaliency")
    if package is None:
        return {}
    folder = package.submodule_search_locations[0]
    theirs = load_file("metrics", f"{folder}/metrics.py")
    rocs = load_file("numba_utils", f"{folder}/numba_utils.py").general_rocs_per_positive_numba
    ys, xs = np.nonzero(target)
    return {
        "kld": theirs.MIT_KLDiv,
        "cc": theirs.CC,
        "sim": theirs.SIM,
        "nss": lambda p, g: theirs.NSS(p, xs, ys).mean(),
        "auc_judd": lambda p, g: rocs(p[g > 0], p[g == 0]).mean(),
    }


def load_file(name: str, path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def best_time(function: Callable, arguments: tuple, repeats: int) -> tuple[float, float]:
    """(seconds, result); the first call is not timed, it may compile."""
    result = function(*arguments)
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function(*arguments)
        times.append(time.process_time() - start)
    return min(times), result


def report(name: str, ours: Callable, peer_name: str, peer: Callable, pair: tuple, peer_repeats: int = 10) -> None:
    own_time, own = best_time(ours, pair, 20)
    peer_time, theirs = best_time(peer, pair, peer_repeats)
    ratio = peer_time / own_time
    difference = abs(own - theirs)
    print(f"| {name} | {1e3 * own_time:.2f} | {peer_name} | {1e3 * peer_time:.2f} | {ratio:.1f} | {difference:.1e} |")


def mit_kld(prediction: np.ndarray, target: np.ndarray) -> float:
    return metrics.kld(prediction, target, eps=MIT_EPS)


def all_of_one_image(prediction: np.ndarray, target: np.ndarray) -> float:
    row = metrics.image_metrics(prediction, target)
    return row["mse"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--num-scores", type=int, default=955)
    options = parser.parse_args()
    prediction, target = pair = make_pair(options.size)
    num_fixated = np.count_nonzero(target)
    print(f"{options.size} x {options.size}, {num_fixated} fixated cells; numpy {np.__version__}\n")
    print("| metric | ours, ms | peer | peer, ms | peer / ours | difference |\n|---|---|---|---|---|---|")
    np.seterr(divide="ignore")  # pysaliency takes the logarithm of zero
    for name, peer in pysaliency_peers(target).items():
        ours = mit_kld if name == "kld" else getattr(metrics, name)
        report(name, ours, "pysaliency", peer, pair)
    report("auc_judd", metrics.auc_judd, "definition, loop", auc_loop, pair, 1)
    report("auc_judd", metrics.auc_judd, "MIT code, loop", auc_mit, pair, 1)
    scores = tuple(np.random.default_rng(1).random((2, options.num_scores)))
    report(f"krcc, n = {options.num_scores}", metrics.krcc, "definition, loop", krcc_loop, scores, 1)
    seconds, _ = best_time(all_of_one_image, pair, 5)
    print(f"\nAll heatmap metrics of one image: {1e3 * seconds:.1f} ms, {1 / seconds:.0f} images/s")
    lowest_fixated = prediction[target > 0].min()
    share_above = np.mean(prediction[target == 0] >= lowest_fixated)
    half_step = share_above / (2 * num_fixated)
    print(f"MIT's curve leaves out the corners between fixated values, which adds {half_step:.1e} here")


if __name__ == "__main__":
    main()
