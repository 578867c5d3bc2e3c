"""Texts for `tasks.py` by small grammars: support tickets of seven uneven classes, reviews with a score, and letters of
guests with what they complain about, none to four of twelve labels.

What a text says lies in how its clauses are put together, not in which words occur. A part of the phrases never
occurs in the labelled training text: the pretrained teacher may know them, the unlabelled text holds them.
"""

from __future__ import annotations

from typing import Callable

import numpy as np

HELD_OUT_SHARE = 0.3  # of the phrases, never in the labelled training text

CLASS_SHARES = {"billing": 0.33, "delivery": 0.25, "login": 0.16, "refund": 0.11, "outage": 0.08, "cancellation": 0.05,
                "praise": 0.02}
_PROBLEMS = {
    "billing": ("I was charged twice this month", "the invoice shows the wrong amount", "my bill is far too high",
                "there is a fee on my statement that nobody can explain", "the discount is missing from my invoice",
                "you took money from my card without asking", "the tax on the receipt is wrong",
                "my payment was counted two times", "the price at checkout was not the price I paid",
                "I need a corrected invoice for my accountant"),
    "delivery": ("my parcel has not arrived", "the courier left the box at a stranger's door",
                 "the shipment is a week late", "the tracking number leads nowhere",
                 "my order is stuck in a warehouse", "the package came soaked and torn",
                 "you sent it to my old address", "half of the items were not in the box",
                 "the driver never rang the bell", "I am still waiting for what I ordered in May"),
    "login": ("I cannot get into my account", "the password reset mail never comes",
              "your page says that my user name is unknown", "the code on my phone is refused every time",
              "I am locked out after three attempts", "my old e-mail address blocks the sign-in",
              "the captcha loops forever", "the app forgets who I am",
              "I lost my second factor together with my phone", "my credentials stopped working"),
    "refund": ("I want my money back", "I returned the shoes and nobody paid me back", "please reimburse what I paid",
               "the repayment that you promised has not come", "when will the credit for the returned goods reach me",
               "I sent the lamp back weeks ago and still have no money", "you owe me the price of the broken kettle",
               "I expect full compensation for the faulty screen", "transfer the amount back to my bank",
               "the return was accepted, yet I see no transfer"),
    "outage": ("your service is down", "the site shows an error on every page", "the app crashes as soon as it starts",
               "nothing loads since this morning", "the server answers with code 500", "the upload freezes at half",
               "the dashboard stays blank", "your system times out all day", "every request fails",
               "the search returns nothing but a red message"),
    "cancellation": ("I want to end my subscription", "please close my account for good",
                     "stop my contract at the end of the month", "I do not wish to renew",
                     "take me off the monthly plan", "delete my membership", "I am leaving for another provider",
                     "let my plan run out", "terminate the agreement", "I no longer need your product, so let me go"),
    "praise": ("your team did a wonderful job", "I just want to say thank you", "the support was outstanding",
               "I have never been helped so quickly", "keep up the great work",
               "my compliments to the lady on the phone", "you saved my weekend", "I am a very happy customer",
               "everything works better than I had hoped", "I will tell all my friends about you"),
}
_SETTLED = {
    "billing": ("the invoice is fine by now", "the double charge was corrected"),
    "delivery": ("the parcel did arrive", "the shipment came on time"),
    "login": ("I can sign in again", "the password works now"),
    "refund": ("the refund has reached me", "you have already paid me back"),
    "outage": ("the site is up again", "the error has gone"),
    "cancellation": ("I decided to keep my subscription", "you may forget that I wanted to leave"),
    "praise": ("your people were kind to me last time", "I liked you once"),
}
_TICKETS = ("{settled}, but {problem}.", "{problem}. {settled}, by the way.", "although {settled}, {problem}.",
            "{settled}. However, {problem}.", "{problem}, even though {settled}.",
            "never mind my last mail, {settled}; now {problem}.")
_GREETINGS = ("", "", "Hello, ", "Dear support, ", "Hi there, ", "Good morning, ", "To whom it may concern: ")
_CLOSINGS = ("", "", "", " Thanks.", " Please hurry.", " Order {number}.", " My customer number is {number}.")

_ASPECTS = ("the room", "the breakfast", "the staff", "the location", "the bed", "the pool", "the view", "the wifi",
            "the parking", "the bathroom", "the bar", "the lobby")
_GRADES = {  # what an adjective says, from -2 to 2
    -2.0: ("awful", "horrible", "disgusting", "terrible", "dreadful", "appalling"),
    -1.0: ("poor", "disappointing", "shabby", "weak", "dull", "tired"),
    0.0: ("average", "ordinary", "acceptable", "standard", "passable", "so-so"),
    1.0: ("good", "pleasant", "nice", "solid", "comfortable", "friendly"),
    2.0: ("superb", "magnificent", "outstanding", "perfect", "fantastic", "wonderful"),
}
_DEGREES = {"": 1.0, "a bit ": 0.5, "somewhat ": 0.5, "really ": 1.25, "extremely ": 1.5, "not ": -0.5, "hardly ": -0.5,
            "anything but ": -1.0}
_REVIEWS = {  # weights of the two clauses
    "{one} was {a}, but {other} was {b}.": (0.3, 0.7), "although {one} was {a}, {other} was {b}.": (0.3, 0.7),
    "{one} was {a}, even if {other} was {b}.": (0.7, 0.3), "{one} was {a} and {other} was {b}.": (0.5, 0.5),
    "what counts is that {one} was {a}; {other} was {b}.": (0.8, 0.2), "{one} was {a}.": (1.0, 0.0),
}

_JOINTS = (", but ", ", and ", "; ", ". ", ", while ", ", though ")
_SALUTES = ("", "", "", " See you again.", " Never again.", " Greetings from room {number}.", " Thank you for reading.")

Make = Callable[[np.random.Generator, Callable], tuple]


def ticket(rng: np.random.Generator, allowed: Callable) -> tuple[str, str]:
    """Return a ticket and its class; ``allowed`` says which phrases may be used."""
    names = list(CLASS_SHARES)
    label, other = names[rng.choice(len(names), p=list(CLASS_SHARES.values()))], _pick(rng, names)
    problem = _pick(rng, allowed(_PROBLEMS[label]))
    text = _pick(rng, _TICKETS).format(problem=problem, settled=_pick(rng, _SETTLED[other]))
    if other == label:
        text = f"{problem}."
    closing = _pick(rng, _CLOSINGS).format(number=rng.integers(10_000, 99_999))
    greeting = _pick(rng, _GREETINGS)
    return greeting + (text if greeting else text[:1].upper() + text[1:]) + closing, label


def review(rng: np.random.Generator, allowed: Callable) -> tuple[str, float]:
    """Return a review and its score from 0 to 5."""
    pattern = _pick(rng, list(_REVIEWS))
    one, other = (_ASPECTS[i] for i in rng.choice(len(_ASPECTS), 2, replace=False))
    judged = [_judgement(rng, allowed) for _ in range(2)]
    grade = sum(weight * value for weight, (_, value) in zip(_REVIEWS[pattern], judged))
    text = pattern.format(one=one, other=other, a=judged[0][0], b=judged[1][0])
    return text[:1].upper() + text[1:], round(float(np.clip(2.5 + 1.25 * grade, 0, 5)), 2)


def letter(rng: np.random.Generator, allowed: Callable) -> tuple[str, list[str]]:
    """Return a guest's letter about one to four things, and those of them that it complains about.

    The first thing of `_ASPECTS` is twelve times as common as the last.
    """
    shares = 1 / np.arange(1, len(_ASPECTS) + 1)
    told = rng.choice(len(_ASPECTS), rng.integers(1, 5), replace=False, p=shares / shares.sum())
    text, labels = "", []
    for place, aspect in enumerate(_ASPECTS[i] for i in told):
        words, grade = _judgement(rng, allowed)
        text += (_pick(rng, _JOINTS) if place else "") + f"{aspect} was {words}"
        labels += [aspect.removeprefix("the ")] * (grade < 0)
    text = ". ".join(part[:1].upper() + part[1:] for part in text.split(". ")) + "."
    return text + _pick(rng, _SALUTES).format(number=rng.integers(100, 999)), labels


def rows(make: Make, train: int, dev: int, unlabeled: int, seed: int = 0) -> tuple[list, list, list]:
    """Return labelled rows for training and dev, and unlabelled texts; all texts differ."""
    rng = np.random.default_rng(seed)
    held_out = {phrase for group in (*_PROBLEMS.values(), *_GRADES.values())
                for phrase in rng.choice(group, max(1, round(HELD_OUT_SHARE * len(group))), replace=False)}
    kinds = ((train, lambda group: [phrase for phrase in group if phrase not in held_out]),
             (dev, list), (unlabeled, list))
    seen: set[str] = set()
    return tuple(_distinct(lambda allowed=allowed: make(rng, allowed), count, seen) for count, allowed in kinds)


def _distinct(draw: Callable, count: int, seen: set[str]) -> list[tuple]:
    found: list[tuple] = []
    while len(found) < count:
        text, label = draw()
        if text not in seen:
            seen.add(text)
            found.append((text, label))
    return found


def _judgement(rng: np.random.Generator, allowed: Callable) -> tuple[str, float]:
    grade = _pick(rng, list(_GRADES))
    degree = _pick(rng, list(_DEGREES))
    return degree + _pick(rng, allowed(_GRADES[grade])), grade * _DEGREES[degree]


def _pick(rng: np.random.Generator, options):
    return options[int(rng.integers(len(options)))]
