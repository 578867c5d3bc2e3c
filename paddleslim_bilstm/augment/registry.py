"""The hooks by name: registering and checking them, before any work, and applying them."""

from __future__ import annotations

import difflib
import inspect
from dataclasses import dataclass, replace
from typing import (
    Annotated,
    Any,
    Callable,
    Iterable,
    Literal,
    Mapping,
    Protocol,
    Sequence,
    get_args,
    get_origin,
    get_type_hints,
)

import numpy as np

from ..errors import UserError, line_of, reason_in_short
from ..tokens import Sentences
from ..users_code import code_fingerprint
from .corpus import Corpus


@dataclass(frozen=True)
class Check:
    """A condition on a parameter, for ``typing.Annotated``.

    Example:
        >>> Copies = Annotated[int, Check(lambda n: type(n) is int and n > 0, "an integer above 0")]
    """

    accepts: Callable[[Any], bool]
    expected: str


def _is_probability(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1


def _is_length_range(value: Any) -> bool:
    return (isinstance(value, (list, tuple)) and len(value) == 2 and all(type(end) is int for end in value)
            and 1 <= value[0] <= value[1])


Probability = Annotated[float, Check(_is_probability, "a number from 0 to 1")]
LengthRange = Annotated[Sequence[int],
                        Check(_is_length_range, "[shortest, longest], integers, 1 <= shortest <= longest")]

_PLAIN = {
    float: Check(lambda value: type(value) in (int, float), "a number"),
    int: Check(lambda value: type(value) is int, "an integer"),
    bool: Check(lambda value: type(value) is bool, "true or false"),
    str: Check(lambda value: type(value) is str, "a text"),
}


def check_of(hint: Any) -> Check | None:
    """Return the condition that a type hint stands for, or None where it says nothing that is checked."""
    if get_origin(hint) is Annotated:
        return next((extra for extra in get_args(hint)[1:] if isinstance(extra, Check)), check_of(get_args(hint)[0]))
    if get_origin(hint) is Literal:
        choices = get_args(hint)
        return Check(lambda value: value in choices, " or ".join(map(str, choices)))
    return _PLAIN.get(hint) if isinstance(hint, type) else None


Hook = Callable[..., Sentences]
_SETTING = "DataAugmentation.hooks"
_HOOKS: dict[str, Hook] = {}


class HookConfig(Protocol):
    """A hook as the configuration names it."""

    name: str
    params: Mapping[str, Any]


def augmentation_hook(name: str) -> Callable[[Hook], Hook]:
    """Register a function as the augmentation hook ``name``; it can then stand in the YAML.

    The function gets all sentences of a chunk at once and returns as many, in the same order: sentence ``i`` of the
    result is made from sentence ``i``. It draws from the generator that it is handed, and must not write into the
    arrays that it gets. Its keyword-only arguments are the parameters in the YAML; types ``float``, ``int``,
    ``bool``, ``str``, ``Literal``, ``Probability``, ``LengthRange`` or any ``Annotated[type, Check(...)]`` are checked
    before any work starts. A later registration of a name replaces the earlier one.

    Example, a hook that replaces tokens by ``[UNK]``:
        >>> @augmentation_hook("forget")
        ... def forget(sentences, corpus, rng, *, p_forget: Probability = 0.1):
        ...     lost = rng.random(len(sentences.tokens)) < p_forget
        ...     tokens = np.where(lost, corpus.tokenizer.unk_id, sentences.tokens)
        ...     return Sentences(tokens, sentences.offsets, sentences.word_starts)

    Raises:
        TypeError: the function doesn't take ``(sentences, corpus, rng, *, parameters...)``.
    """
    def register(function: Hook) -> Hook:
        positional = [parameter for parameter in inspect.signature(function).parameters.values()
                      if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)]
        if len(positional) != 3:
            raise TypeError(f'augmentation hook "{name}" must take (sentences, corpus, rng, *, parameters...)')
        _HOOKS[name] = function
        return function
    return register


def hook_names() -> list[str]:
    """Return the registered names, sorted."""
    return sorted(_HOOKS)


def hook_function(name: str) -> Hook:
    """Return the function registered as ``name``.

    Raises:
        UserError: there is none; the message names the nearest.
    """
    if name not in _HOOKS:
        raise UserError(f'{_SETTING}: unknown hook "{name}"; {_nearest(name, hook_names())}')
    return _HOOKS[name]


def hook_fingerprint(name: str) -> str:
    """Return what changes with the code of the hook ``name``, see `code_fingerprint`.

    Raises:
        UserError: there is no such hook.
    """
    function = hook_function(name)
    ours = str(getattr(function, "__module__", None)).startswith(f"{__package__}.")
    return name if ours else f"{name} {code_fingerprint(f'{_SETTING}.{name}', function)}"


def check_hooks(hooks: Iterable[HookConfig]) -> None:
    """Check names, parameters, types and ranges of ``hooks``.

    Raises:
        UserError: the first mistake, naming the key under ``DataAugmentation.hooks`` and the remedy.
    """
    for hook in hooks:
        full_params(hook)


def full_params(hook: HookConfig) -> dict[str, Any]:
    """Return the checked parameters of ``hook`` with the defaults filled in.

    Raises:
        UserError: as ``check_hooks``.
    """
    function = hook_function(hook.name)
    known = {name: parameter for name, parameter in inspect.signature(function).parameters.items()
             if parameter.kind is parameter.KEYWORD_ONLY}
    hints = _hints(function)
    for key, value in hook.params.items():
        if key not in known:
            raise UserError(f'{_SETTING}.{hook.name}: unknown parameter "{key}"; {_nearest(key, list(known))}')
        check = check_of(hints.get(key, type(known[key].default)))
        if check and not check.accepts(value):
            raise UserError(f"{_SETTING}.{hook.name}.{key}: {value!r} is not {check.expected}")
    values = {name: parameter.default for name, parameter in known.items()}
    values.update(hook.params)
    missing = [name for name, value in values.items() if value is inspect.Parameter.empty]
    if missing:
        raise UserError(f"{_SETTING}.{hook.name}: parameter {missing[0]} is missing; give it a value")
    return values


def apply_hooks(hooks: Sequence[HookConfig], sentences: Sentences, corpus: Corpus,
                rng: np.random.Generator) -> Sentences:
    """Pass ``sentences`` through ``hooks`` in order, checking what each returns.

    Raises:
        UserError: a hook failed, or returned something other than as many well-formed sentences; the message names it.
    """
    for hook in hooks:
        function = hook_function(hook.name)
        try:
            result = function(sentences, corpus, rng, **hook.params)
        except (UserError, OSError, MemoryError):
            raise
        except Exception as error:  # somebody's own code: anything can come out
            raise UserError(f"{_SETTING}.{hook.name}: the hook fails ({line_of(error, function)}"
                            f"{reason_in_short(error)}); mend it, or take it out") from error
        fault = _fault(result, len(sentences), len(corpus.tokenizer.vocab))
        if fault:
            raise UserError(f"{_SETTING}.{hook.name}: the hook returned {fault}")
        sentences = replace(result, offsets=result.offsets.astype(np.int64, copy=False),
                            word_starts=result.word_starts.astype(bool, copy=False))
    return sentences


def _fault(result: Any, count: int, vocab_size: int) -> str | None:
    """Say what is wrong with a hook's result, or None."""
    if not isinstance(result, Sentences):
        return f"a {type(result).__name__}; it must return Sentences"
    tokens, offsets, word_starts = result.tokens, result.offsets, result.word_starts
    for name, array, kinds, what in (("tokens", tokens, "iu", "integers"), ("offsets", offsets, "iu", "integers"),
                                     ("word_starts", word_starts, "biu", "booleans")):
        if not isinstance(array, np.ndarray) or array.ndim != 1 or array.dtype.kind not in kinds:
            return f"{name} that are no flat NumPy array of {what}; see tokens.Sentences"
    if result.split is not None:
        return "pairs; it gets their sides as single sentences, and must return as many of these, without split"
    if len(offsets) != count + 1:
        return f"{max(len(offsets) - 1, 0)} sentences for {count}; it must return as many, in the same order"
    if tokens.shape != word_starts.shape:
        return "tokens and word_starts that are not of one length"
    if offsets[0] != 0 or offsets[-1] != len(tokens) or (offsets[1:] < offsets[:-1]).any():
        return "offsets that don't rise from 0 to the number of tokens; compute them with tokens.offsets_of(lengths)"
    if len(tokens) and not (0 <= tokens.min() and tokens.max() < vocab_size):
        return f"token ids outside 0..{vocab_size - 1}; use ids of corpus.tokenizer.vocab"
    return None


def _hints(function: Hook) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except (NameError, TypeError):  # hints that only a type checker can read
        return {}


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    return f'did you mean "{close[0]}"?' if close else f"known: {', '.join(known) or 'none'}"
