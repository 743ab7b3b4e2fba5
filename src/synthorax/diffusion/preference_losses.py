"""Losses that learn from pairs of a preferred and a rejected answer, as benchmarked by CheXalign (arXiv 2410.07025).

| variable | symbol | meaning |
| --- | --- | --- |
| logp_w, logp_l | log pi_theta(y_w given x), log pi_theta(y_l given x) | of the preferred and the rejected answer, the model in training |
| ref_w, ref_l | log pi_ref(...) | the same of the frozen model it began as |
| h_w, h_l | log(pi_theta / pi_ref) | how much more likely an answer has become |
| beta | beta (tau in IPO, lambda in ORPO) | how strongly the frozen model holds back: larger = stays nearer |
| z0 | z_0 | KTO's reference point, an estimate of KL(pi_theta, pi_ref), not below 0, without gradient |
| alpha, len_w, len_l | alpha, absolute y | R-DPO's cost of a token more, and the answers' lengths in tokens |

All take float tensors ``(B,)`` and return ``(B,)``. Log-probabilities are sums over an answer's tokens, for ``ipo`` and
``orpo`` means. A film has no probability at hand: :mod:`~.train_alignment` says what stands in its place.
"""

from torch import Tensor
from torch.nn.functional import logsigmoid

#: Those that a film's stand-in suits: ORPO needs a probability itself, R-DPO a length.
OF_FILMS = ("dpo", "ipo", "kto")
LOSSES = (*OF_FILMS, "orpo", "rdpo")


def dpo(h_w: Tensor, h_l: Tensor, beta: float) -> Tensor:
    """Direct preference optimisation, equation 7 of Rafailov et al. 2023."""
    return -logsigmoid(beta * (h_w - h_l))


def ipo(h_w: Tensor, h_l: Tensor, beta: float) -> Tensor:
    """Identity preference optimisation, equation 17 of Azar et al. 2023: the margin ends at 1 / (2 beta)."""
    return (h_w - h_l - 1 / (2 * beta)).square()


def kto(h_w: Tensor, h_l: Tensor, beta: float, z0: Tensor | None = None) -> Tensor:
    """Kahneman-Tversky optimisation, equations 7 and 8 of Ethayarajh et al. 2024, both weights 1: no pairs needed.

    ``z0`` None estimates it from the batch's own answers; the paper takes mismatched ones, which costs a pass more.
    """
    if z0 is None:
        z0 = ((h_w.mean() + h_l.mean()) / 2).detach().clamp(min=0)
    return (1 - (beta * (h_w - z0)).sigmoid()) + (1 - (beta * (z0 - h_l)).sigmoid())


def orpo(logp_w: Tensor, logp_l: Tensor, beta: float) -> Tensor:
    """Odds ratio preference optimisation, equations 6 and 7 of Hong et al. 2024: no frozen model."""
    return -logp_w - beta * logsigmoid(_log_odds(logp_w) - _log_odds(logp_l))


def rdpo(h_w: Tensor, h_l: Tensor, beta: float, alpha: float, len_w: Tensor, len_l: Tensor) -> Tensor:
    """Length-regularised DPO, equation 9 of Park et al. 2024: a pair whose preferred answer is longer teaches less."""
    return -logsigmoid(beta * (h_w - h_l) + alpha * (len_w - len_l))


def _log_odds(logp: Tensor) -> Tensor:
    """log(p / (1 - p)) of log p < 0."""
    return logp - (-logp.expm1()).log()
