"""The tutorial's loop, written from its listing ("from BERT to Bi-LSTM", PaddleSlim), and nothing of ours.

Python augmentation a sentence at a time; randomly padded, shuffled batches; the teacher in dynamic graph inside the
training loop, every epoch; the Bi-LSTM in dynamic graph. Sizes and optimizer are those of PaddleNLP's command for
SST-2 (300 units, Adadelta with rate 1.0, dropout 0.2). The listing has no code for part-of-speech replacement; here
each text is tagged once, and words are drawn from lists by tag. Evaluation is left out of the times.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import paddle
from paddle import nn
from paddlenlp.data import Pad, Stack
from paddlenlp.transformers import BertForSequenceClassification, BertTokenizer
from processes import answer
from textblob.en import tag

P_MASK, P_POS, P_NG, NGRAM_RANGE = 0.1, 0.1, 0.25, (2, 6)
_WARM_UP_BATCHES = 2


class BiLSTM(nn.Layer):
    """Step 2 of the tutorial."""

    def __init__(self, embed_dim: int, hidden_size: int, vocab_size: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.embedder = nn.Embedding(vocab_size, embed_dim, 0)
        self.lstm = nn.LSTM(embed_dim, hidden_size, 1, "bidirectional", dropout=dropout)
        self.fc = nn.Linear(2 * hidden_size, hidden_size)
        self.output_layer = nn.Linear(hidden_size, classes)

    def forward(self, x, seq_len):
        _, (hidden, _) = self.lstm(self.embedder(x), sequence_length=seq_len)
        out = paddle.concat((hidden[-2, :, :], hidden[-1, :, :]), axis=1)
        return self.output_layer(paddle.tanh(self.fc(out)))


def augment(texts: list[str], tokenizer: BertTokenizer, n_iter: int) -> list[list[str]]:
    """Return the tokens of ``texts`` and of what ``n_iter`` rounds make of them, duplicates left out."""
    tags, words_of = _tags(texts)
    made = [tokenizer.tokenize(text) for text in texts]
    used = {" ".join(tokens) for tokens in made}
    for text, text_tags in zip(texts, tags):
        for _ in range(n_iter):
            tokens = _augment_one(text, text_tags, words_of, tokenizer)
            new_text = " ".join(tokens)
            if new_text not in used:
                made.append(tokens)
                used.add(new_text)
    return made


def _tags(texts: list[str]) -> tuple[list[list[str]], dict[str, list[str]]]:
    tags, words_of = [], defaultdict(list)
    for text in texts:
        tagged = tag(text, tokenize=False)
        tags.append([name for _, name in tagged])
        for word, name in tagged:
            words_of[name].append(word)
    return tags, words_of


def _augment_one(text: str, tags: list[str], words_of: dict, tokenizer: BertTokenizer) -> list[str]:
    words = [words_of[name][np.random.randint(len(words_of[name]))] if np.random.rand() < P_POS else word
             for word, name in zip(text.split(), tags)]
    tokens = [tokenizer.mask_token if np.random.rand() < P_MASK else token
              for token in tokenizer.tokenize(" ".join(words))]
    if np.random.rand() < P_NG:
        length = min(np.random.randint(NGRAM_RANGE[0], NGRAM_RANGE[1] + 1), len(tokens))
        start = np.random.randint(0, len(tokens) - length + 1)
        tokens = tokens[start:start + length]
    return tokens


def loader(sentences: list[list[str]], labels: list[int], tokenizer: BertTokenizer, batch_size: int,
           shuffle: bool) -> paddle.io.DataLoader:
    """Return batches: the teacher's ids and segments, the student's ids and lengths, labels."""
    class Rows(paddle.io.Dataset):
        def __len__(self):
            return len(sentences)

        def __getitem__(self, index):
            ids = tokenizer.convert_tokens_to_ids(sentences[index])
            bert = [tokenizer.cls_token_id, *ids, tokenizer.sep_token_id]
            return bert, [0] * len(bert), ids, len(ids), labels[index]

    pad, stack = Pad(axis=0, pad_val=tokenizer.pad_token_id, dtype="int64"), Stack(dtype="int64")

    def collate(rows):
        bert, segments, ids, lengths, row_labels = zip(*rows)
        return [pad(bert), pad(segments), pad(ids), stack(lengths), stack(row_labels)]

    sampler = paddle.io.BatchSampler(Rows(), batch_size=batch_size, shuffle=shuffle)
    return paddle.io.DataLoader(Rows(), batch_sampler=sampler, collate_fn=collate, num_workers=0, return_list=True)


def distil(teacher, model, optimizer, batches) -> dict[str, float]:
    """Train over ``batches`` once; return the seconds for batches, teacher and student, and the sentences, of all
    batches but the first ones."""
    ce_loss, mse_loss, alpha = nn.CrossEntropyLoss(), nn.MSELoss(), 0.0
    spent = {"batch_s": 0.0, "teacher_s": 0.0, "student_s": 0.0, "trained": 0}
    start = time.perf_counter()
    for number, (bert_ids, segments, ids, lengths, labels) in enumerate(batches):
        ready = time.perf_counter()
        with paddle.no_grad():
            teacher_logits = teacher(bert_ids, segments)
            teacher_logits.numpy()
        labelled = time.perf_counter()
        logits = model(ids, lengths)
        loss = alpha * ce_loss(logits, labels) + (1 - alpha) * mse_loss(logits, teacher_logits)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        done = time.perf_counter()
        if number >= _WARM_UP_BATCHES:
            for name, seconds in zip(spent, (ready - start, labelled - ready, done - labelled, len(labels))):
                spent[name] += seconds
        start = done
    return spent


def measure(job: dict) -> dict:
    """Run a sample of the tutorial: augment ``texts``, then train on ``sentences`` (or on what was made of them)."""
    paddle.seed(job["seed"])
    np.random.seed(job["seed"])
    tokenizer = BertTokenizer.from_pretrained(job["teacher"])
    sample = json.loads(Path(job["sample"]).read_text())
    tag("a film", tokenize=False)  # loads the tagger
    start = time.perf_counter()
    sentences = augment(sample["texts"], tokenizer, job["n_iter"])
    result = {"augment_s": time.perf_counter() - start, "made": len(sample["texts"]) * (job["n_iter"] + 1)}
    sentences = sample.get("sentences", sentences)
    teacher = BertForSequenceClassification.from_pretrained(job["teacher"], dtype="float32")
    teacher.eval()
    model = BiLSTM(300, 300, tokenizer.vocab_size, job["classes"], 0.2)
    optimizer = paddle.optimizer.Adadelta(1.0, rho=0.95, parameters=model.parameters())
    batches = loader(sentences, [0] * len(sentences), tokenizer, job["batch_size"], shuffle=True)
    accuracies = []
    for _ in range(job["epochs"]):
        result.update(distil(teacher, model, optimizer, batches))
        if "dev" in sample:
            accuracies.append(accuracy(model, tokenizer, *sample["dev"]))
    return {**result, "accuracies": accuracies, "sentences": len(sentences)}


def accuracy(model: BiLSTM, tokenizer: BertTokenizer, texts: list[str], labels: list[int]) -> float:
    """Return the student's accuracy on a dev set."""
    model.eval()
    correct = 0
    with paddle.no_grad():
        for _, _, ids, lengths, truth in loader([tokenizer.tokenize(text) for text in texts], labels, tokenizer, 64,
                                                shuffle=False):
            correct += int((model(ids, lengths).argmax(axis=1) == truth).sum())
    model.train()
    return correct / len(texts)


if __name__ == "__main__":
    answer(measure)
