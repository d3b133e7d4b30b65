"""What every number of the report means, for its last part."""

METHODS: tuple[tuple[str, str], ...] = (
    (
        "diverged",
        "a loss that is not finite, or a last validation loss above the one at step 0; ranks last and is in no mean",
    ),
    (
        "collapsed",
        "finite losses, the last below the first, but over a quarter of the improvement lost again, by collapse or "
        "overfitting; no divergence by the rule, so it counts with the value it ended at, and the audit names it: "
        "serious where results are made of it, a warning where it is one rate of a search",
    ),
    ("final value", "the value at the largest step; a diverged run ranks last and stays out of means"),
    ("interval of a cell", "Student t over seeds, from three seeds on; below that there is none"),
    (
        "time to target",
        "the first evaluation at which the target is reached, inclusive, not interpolated; a run that never got there "
        "is censored at the budget",
    ),
    ("median time", "Kaplan-Meier over seeds"),
    ("mean time", "restricted mean: the area under the Kaplan-Meier curve up to the budget, Greenwood's variance"),
    ("share reached, share diverged", "Wilson's interval"),
    ("time / fastest", "median time divided by that of the fastest schedule of the workload"),
    (
        "performance-profile score",
        "mean over workloads of max(0, (tau_max - r) / (tau_max - 1)) with r = time / fastest; tau_max = 4 unless said",
    ),
    ("target ECDF", "1 - Kaplan-Meier over all (workload, seed, rung of the ladder)"),
    ("target ladder", "initial + a (best - initial) for a = .5, .75, .9, .95, .99, 1"),
    ("rate sensitivity", "mean over the common rates of min(loss, initial loss) - smallest loss"),
    ("basin width", "log10 of the ratio of the rates round the best that lose at most 10 % of (initial - best)"),
    ("probability of improvement", "Mann and Whitney's U / (n m), mean over workloads, ties count half"),
    ("IQM", "25 % trimmed mean of (y - y_constant) / (y_best - y_constant), workloads and seeds pooled"),
    ("pair within a workload", "Welch's t test, Holm over all pairs and workloads of a budget"),
    ("pair across workloads", "exact Wilcoxon signed-rank test of seed means, Holm over all pairs"),
    ("mean rank", "ranks of seed means within each workload, averaged over workloads, ties share"),
    ("rank interval", "bootstrap: seeds are resampled within each cell, and everything is ranked again"),
    ("Pareto front", "no other schedule is at least as good in speed and final value and better in one"),
)
