"""The words of the quickstart corpus: eight kinds of things that people review, and how they judge them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Aspect:
    """One side of a thing, such as ``the acting`` of a film.

    Attributes:
        noun: the noun, without its article.
        plural: whether it takes ``are`` instead of ``is``.
        praise, blame: adjectives that suit this noun, beside those that suit any.
    """

    noun: str
    plural: bool
    praise: tuple[str, ...]
    blame: tuple[str, ...]


@dataclass(frozen=True)
class Domain:
    """A kind of thing under review.

    Attributes:
        item: what it is called, such as ``film``.
        tried: what one has done with it, a past participle, such as ``seen``.
        again: using it once more, such as ``see it again``.
        scenes: neutral openings that say nothing about its quality.
        aspects: its sides.
    """

    item: str
    tried: str
    again: str
    scenes: tuple[str, ...]
    aspects: tuple[Aspect, ...]


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.replace("_", " ") for word in text.split())


def _aspect(noun: str, praise: str, blame: str, plural: bool = False) -> Aspect:
    return Aspect(noun, plural, _words(praise), _words(blame))


PRAISE = _words("good great excellent superb wonderful fantastic brilliant impressive outstanding terrific remarkable "
                "splendid lovely delightful marvellous amazing satisfying exceptional admirable magnificent flawless "
                "enjoyable first-rate fabulous stunning likeable")
BLAME = _words("bad terrible awful poor dreadful horrible disappointing weak mediocre lousy miserable dismal appalling "
               "atrocious pathetic frustrating annoying unpleasant inadequate shoddy hopeless abysmal laughable "
               "underwhelming second-rate")
PRAISING_VERBS = _words("impress delight charm please convince satisfy amaze thrill")
BLAMING_VERBS = _words("disappoint annoy irritate frustrate bore bother dismay")
TRIUMPHS = _words("triumph treasure masterpiece joy gem delight marvel")
DISASTERS = _words("disaster failure nightmare mess disgrace letdown catastrophe")

DOMAINS = (
    Domain("film", "seen", "see it again",
           ("We watched it on a Friday evening", "It runs for two hours", "I saw it with my sister",
            "It was shown at our local cinema", "The story takes place in Norway"),
           (_aspect("acting", "convincing natural nuanced heartfelt", "wooden stiff lifeless unconvincing"),
            _aspect("plot", "gripping clever moving original", "predictable dull confusing silly"),
            _aspect("dialogue", "witty sharp touching", "clumsy corny tedious"),
            _aspect("soundtrack", "haunting beautiful catchy", "grating monotonous forgettable"),
            _aspect("jokes", "funny hilarious fresh", "stale lame tasteless", plural=True),
            _aspect("ending", "moving powerful surprising", "absurd rushed feeble"),
            _aspect("special effects", "spectacular breathtaking polished", "cheap ridiculous crude", plural=True))),
    Domain("hotel", "stayed in", "stay there again",
           ("We stayed for three nights", "It lies close to the station", "I was there for a conference",
            "We arrived late on a Sunday", "Our room was on the second floor"),
           (_aspect("room", "clean spacious comfortable cosy", "dirty cramped noisy shabby"),
            _aspect("staff", "friendly helpful polite attentive", "rude careless unfriendly lazy"),
            _aspect("breakfast", "fresh tasty generous", "stale bland meagre"),
            _aspect("beds", "comfortable soft clean", "lumpy creaky filthy", plural=True),
            _aspect("pool", "clean inviting relaxing", "dirty crowded smelly"),
            _aspect("location", "convenient ideal peaceful", "inconvenient dangerous noisy"),
            _aspect("towels", "fluffy soft clean", "filthy scratchy smelly", plural=True))),
    Domain("restaurant", "eaten in", "eat there again",
           ("We had booked a table for four", "It opened last summer", "I went there with colleagues",
            "We had lunch in the garden", "It serves food from the region"),
           (_aspect("soup", "tasty delicious hearty fragrant", "bland watery salty tasteless"),
            _aspect("steak", "tender juicy delicious", "tough dry overcooked"),
            _aspect("desserts", "delicious heavenly creamy", "soggy stale sickly", plural=True),
            _aspect("service", "friendly prompt attentive", "slow rude careless"),
            _aspect("vegetables", "fresh crisp tasty", "soggy limp overcooked", plural=True),
            _aspect("wine", "smooth refreshing elegant", "sour undrinkable overpriced"),
            _aspect("prices", "fair reasonable sensible", "outrageous unfair exorbitant", plural=True))),
    Domain("phone", "owned", "buy it again",
           ("I have used it for two weeks", "It replaced my old one", "I ordered it in March",
            "I got it for my birthday", "I use it mostly at work"),
           (_aspect("battery", "reliable durable strong", "unreliable faulty useless"),
            _aspect("screen", "bright sharp gorgeous", "dim blurry fragile"),
            _aspect("camera", "sharp capable fast", "blurry useless slow"),
            _aspect("speakers", "clear powerful rich", "tinny harsh muffled", plural=True),
            _aspect("software", "smooth intuitive fast", "slow buggy bloated"),
            _aspect("buttons", "sturdy responsive elegant", "flimsy unresponsive ugly", plural=True),
            _aspect("design", "elegant stylish sleek", "ugly clunky tacky"))),
    Domain("novel", "read", "read it again",
           ("I read it on the train", "It has four hundred pages", "It was a present from my aunt",
            "It is the second of three volumes", "We discussed it in our book club"),
           (_aspect("characters", "believable memorable vivid", "flat unbelievable lifeless", plural=True),
            _aspect("prose", "elegant vivid beautiful", "clumsy tedious pompous"),
            _aspect("opening", "gripping promising mysterious", "tedious confusing dull"),
            _aspect("chapters", "gripping lively thoughtful", "tedious repetitive dull", plural=True),
            _aspect("translation", "faithful fluent elegant", "clumsy inaccurate careless"),
            _aspect("heroine", "charming brave memorable", "irritating shallow whiny"),
            _aspect("twist", "ingenious surprising clever", "predictable absurd silly"))),
    Domain("course", "taken", "take it again",
           ("It lasted for ten weeks", "I took it in the autumn", "There were twenty of us",
            "It took place on Tuesdays", "My employer paid for it"),
           (_aspect("lectures", "lively clear inspiring", "dull confusing tedious", plural=True),
            _aspect("teacher", "patient inspiring competent", "impatient incompetent boring"),
            _aspect("exercises", "useful instructive interesting", "pointless useless repetitive", plural=True),
            _aspect("slides", "clear helpful concise", "unreadable confusing cluttered", plural=True),
            _aspect("textbook", "clear readable thorough", "outdated confusing unreadable"),
            _aspect("exam", "fair sensible reasonable", "unfair pointless absurd"),
            _aspect("feedback", "helpful detailed encouraging", "useless vague discouraging"))),
    Domain("airline", "flown with", "fly with them again",
           ("We flew to Madrid in June", "I had a seat by the window", "The flight took five hours",
            "We travelled with two children", "I booked the ticket online"),
           (_aspect("seats", "comfortable spacious soft", "cramped uncomfortable hard", plural=True),
            _aspect("crew", "friendly polite attentive", "rude impatient unfriendly"),
            _aspect("meal", "tasty fresh delicious", "cold bland inedible"),
            _aspect("boarding", "quick smooth orderly", "chaotic slow disorganised"),
            _aspect("cabin", "clean quiet spacious", "dirty noisy stuffy"),
            _aspect("website", "clear fast helpful", "slow confusing buggy"),
            _aspect("legroom", "generous ample sufficient", "insufficient tiny laughable"))),
    Domain("bicycle", "ridden", "buy it again",
           ("I ride it to the office", "It came in a large box", "I bought it last spring",
            "We took it along the coast", "It has seven gears"),
           (_aspect("brakes", "reliable strong responsive", "unreliable weak dangerous", plural=True),
            _aspect("saddle", "comfortable soft elegant", "uncomfortable hard painful"),
            _aspect("frame", "sturdy light stable", "flimsy heavy wobbly"),
            _aspect("tyres", "robust durable grippy", "fragile worn cheap", plural=True),
            _aspect("chain", "smooth durable quiet", "noisy rusty flimsy"),
            _aspect("lights", "bright sturdy reliable", "dim flimsy faulty", plural=True),
            _aspect("manual", "clear helpful detailed", "unreadable confusing useless"))),
)
