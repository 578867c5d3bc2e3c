"""Loading the teacher from whatever its owner has: a checkpoint, an exported inference model or an ONNX file."""

from __future__ import annotations

import logging
import re
import shutil
from pathlib import Path

import paddle

from ..errors import UserError
from ..export.file_names import NEW_PROGRAM, program_file
from ..export.inference_file import ends_whole
from ..scopes import static_mode
from ..storage import check_folder, checksum, seal_folder, whole_folder
from ..tokens import Framing, Tokenizer, load_tokenizer
from .checkpoint import export_checkpoint
from .files import model_files
from .hints import hinting_program, write_hinting_program
from .onnx_teacher import load_onnx_teacher
from .program import Signature, read_parameter, read_signature, save_logits_only
from .teacher import PaddleTeacher, Teacher
from .weights import CONFIG_FILES, read_config

_log = logging.getLogger(__name__)

_COPY_FORMAT = 7  # counts up when the same files would give another copy


@static_mode()
def load_teacher(model_dir: str | Path, work_dir: Path, model_filename: str | None = None,
                 params_filename: str | None = None, tokenizer_dir: str | Path | None = None) -> Teacher:
    """Load the classifier in ``model_dir`` without changing anything there.

    ``model_dir`` holds an exported inference model (``.pdmodel``, or Paddle 3's ``.json``, and ``.pdiparams``: the only
    ones there, or those named), or else a checkpoint of Hugging Face (``model.safetensors``) or PaddleNLP
    (``model_state.pdparams``) with its ``config.json``, or else an ONNX file (``model.onnx``, or the only one); or it
    is an ONNX file. A ``model_filename`` that ends in ``.onnx`` names one beside other models. What ``work_dir`` holds
    of an earlier call with the same files is used again. Paddle may be in either mode, and stays in it. What
    ``config.json`` says of classes and length is read in ``tokenizer_dir`` where the model's folder has none.

    Raises:
        UserError: no folder, no model or tokenizer in it, damaged files, or a model that can't be a teacher.
    """
    place = Path(model_dir)
    folder = place if place.is_dir() else place.parent
    files = model_files(place, model_filename, params_filename)
    tokenizer = load_tokenizer(tokenizer_dir or folder)
    described = folder if (folder / "config.json").is_file() else Path(tokenizer_dir or folder)
    if files[0].suffix == ".onnx":
        return load_onnx_teacher(files[0], tokenizer, lambda classes: label_names_in(described, classes),
                                 _most_tokens(described))
    return _load_paddle_teacher(folder, described, files, tokenizer, Path(work_dir))


def _load_paddle_teacher(folder: Path, described: Path, files: list[Path], tokenizer: Tokenizer,
                         work_dir: Path) -> PaddleTeacher:
    """Load an exported inference model, or a checkpoint, from our own copy of it; ``described`` names its classes."""
    key = checksum(_COPY_FORMAT, paddle.__version__, tokenizer.pad_id, *files)
    copy = work_dir / f"teacher-{key}"
    if not _is_sound(copy):
        with whole_folder(copy) as partial:
            if files[0].name in CONFIG_FILES:
                export_checkpoint(files[0], files[1:], tokenizer.pad_id, partial / "scratch", partial / "model")
                shutil.rmtree(partial / "scratch")
            else:
                _copy_exported(*files, prefix=partial / "model")
            signature = read_signature(program_file(partial / "model"))
            write_hinting_program(partial / "model", Framing.of(tokenizer, signature.feeds, signature.width))
            seal_folder(partial)
    signature = read_signature(program_file(copy / "model"))
    _check_vocabulary(folder, tokenizer, signature)
    hinting = hinting_program(copy / "model")
    return PaddleTeacher(tokenizer, signature.num_classes, label_names_in(described, signature.num_classes),
                         Framing.of(tokenizer, signature.feeds, signature.width), signature.max_length, copy.name,
                         copy / "model", hinting if hinting.is_file() else None)


def _is_sound(copy: Path) -> bool:
    if not copy.is_dir():
        return False
    try:
        check_folder(copy)
    except (ValueError, OSError) as error:
        _log.warning("%s: not a sound copy of the teacher (%s); it is made again", copy, error)
        return False
    return True


def _copy_exported(program: Path, parameters: Path, prefix: Path) -> None:
    new = program.suffix == NEW_PROGRAM
    signature = None if new else read_signature(program)  # a new one is read with its parameters alone
    copy = Path(f"{prefix}{program.suffix if new else '.pdmodel'}")
    shutil.copyfile(program, copy)
    shutil.copyfile(parameters, f"{prefix}.pdiparams")
    if not ends_whole(parameters):
        raise UserError(f"{parameters}: is cut or damaged; export the model again")
    try:
        signature = signature or read_signature(copy)
        read_parameter(prefix, signature.embedding)
    except UserError as error:
        raise UserError(str(error).replace(f"{prefix}.pdiparams", str(parameters)).replace(
            str(copy), str(program))) from None
    if not signature.plain:
        save_logits_only(prefix, signature)


def _check_vocabulary(folder: Path, tokenizer: Tokenizer, signature: Signature) -> None:
    if len(tokenizer.vocab) > signature.vocab_size:
        raise UserError(f"{folder}: the tokenizer has {len(tokenizer.vocab)} tokens, the model embeds only "
                        f"{signature.vocab_size}; use the tokenizer files that the teacher was trained with")


def label_names_in(folder: Path, num_classes: int) -> tuple[str, ...] | None:
    """Return ``id2label`` of ``config.json``, unless it is missing or only counts ``LABEL_0``, ``LABEL_1``, …"""
    path = folder / "config.json"
    id2label = read_config(path).get("id2label") if path.is_file() else None
    if not isinstance(id2label, dict) or not all(str(key).isdigit() for key in id2label):
        return None
    names = tuple(str(id2label[key]) for key in sorted(id2label, key=int))
    if all(re.fullmatch(r"LABEL_\d+", name) for name in names):
        return None
    if len(names) != num_classes:
        _log.warning("%s: id2label names %d classes, the model has %d; the names are not used", path, len(names),
                     num_classes)
        return None
    return names


def _most_tokens(folder: Path) -> int | None:
    """Return ``max_position_embeddings`` of ``config.json``, if it says so."""
    path = folder / "config.json"
    most = read_config(path).get("max_position_embeddings") if path.is_file() else None
    return most if isinstance(most, int) and most > 2 else None
