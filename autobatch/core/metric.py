"""Which way a metric goes, by its name."""

import re

from autobatch.errors import UsageError

MAXIMISED = {
    *("accuracy", "acc", "auc", "precision", "recall", "f1", "fbeta", "iou", "r2", "similarity"),
    *("sensitivity", "specificity", "bleu", "rouge", "psnr", "ssim", "dice", "ndcg", "correlation"),
}
MINIMISED = {
    *("loss", "error", "mae", "mse", "rmse", "mape", "crossentropy", "perplexity", "divergence"),
    *("logcosh", "poisson", "hinge", "distance", "wer", "cer"),
}


def is_maximised(metric: str) -> bool:
    """Whether more of the metric is better; refuses one of which that is not known."""
    words = re.split(r"[\W_]+", metric.lower().replace("io_u", "iou"))  # Keras names IoU io_u
    for word in reversed(words):  # an output's name comes first
        if word in MAXIMISED | MINIMISED:
            return word in MAXIMISED
    raise UsageError(
        f"Whether more or less of trials.metric {metric} is better is not known.",
        hint="Use val_loss, or a metric whose name says what it is: "
        f"{', '.join(sorted(MAXIMISED | MINIMISED))}.",
    )
