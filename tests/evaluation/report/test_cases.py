from heie_hf.evaluation.report.cases import choose_cases


def test_cases_are_the_extremes():
    def sample(key, cc, mse, gt_sum, score, target):
        return {"key": key, "cc": cc, "mse": mse, "gt_sum": gt_sum, "score": score, "target_score": target}

    samples = [
        sample("a", 0.9, 0.1, 5, 0.5, 0.5),
        sample("b", 0.1, 0.1, 5, 0.5, 0.9),
        sample("c", None, 0.3, 0, 0.5, None),
        sample("d", None, 0.4, 0, 0.5, 0.4),
    ]
    chosen = [[s["key"] for s in members] for members in choose_cases(samples, 2).values()]
    assert chosen == [["b", "a"], ["a", "b"], ["d", "c"], ["b", "d"]]
