"""The learning-rate range test: which rates teach a model anything, and which are too much for it.

A fresh model trains for a few hundred steps while its rate grows geometrically from hopelessly small to absurdly large,
and the loss is watched (Smith 2017, Cyclical Learning Rates, arXiv:1506.01186; geometric growth, smoothing and the
limit of 4 are those of fastai's `lr_find`). Repeated over seeds, since one curve is mostly noise.

`range_test` measures; `smoothed_curve` and `suggest` read what it measured and are pure numpy.
"""

from lrbench.lr_range.measure import RangeTest, SmoothedCurve, first_divergence, range_test, smoothed_curve
from lrbench.lr_range.suggestion import Suggestion, suggest

__all__ = ["RangeTest", "SmoothedCurve", "Suggestion", "first_divergence", "range_test", "smoothed_curve", "suggest"]
