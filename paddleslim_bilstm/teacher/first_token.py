"""The last layer of a BERT classifier, computed where it is read: at the first token."""

from __future__ import annotations

import types

from paddle import nn

_READ_THE_FIRST_TOKEN = ("BertForSequenceClassification", "ErnieForSequenceClassification")


def keep_first_token(network: nn.Layer) -> None:
    """Have the last Transformer layer of ``network`` answer for the first token alone, ``[batch, 1, hidden]``.

    BERT's and ERNIE's classifiers read nothing else of it, so their logits stay as they are, and of that layer only
    keys and values are still computed for every token. Other classifiers are left alone.
    """
    encoders = [layer for layer in network.sublayers() if isinstance(layer, nn.TransformerEncoder)]
    if type(network).__name__ in _READ_THE_FIRST_TOKEN and len(encoders) == 1:
        last = encoders[0].layers[-1]
        last.forward = types.MethodType(_answer_for_first_token, last)


def _answer_for_first_token(self: nn.TransformerEncoderLayer, src, src_mask=None, cache=None, output_attentions=False):
    """``paddle.nn.TransformerEncoderLayer.forward`` with the first token as the only query, without dropout."""
    read = self.norm1(src) if self.normalize_before else src
    first = src[:, :1] + self.self_attn(read[:, :1], read, read, src_mask)
    if not self.normalize_before:
        first = self.norm1(first)
    hidden = self.norm2(first) if self.normalize_before else first
    answer = first + self.linear2(self.activation(self.linear1(hidden)))
    return answer if self.normalize_before else self.norm2(answer)
