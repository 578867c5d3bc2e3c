"""Which files of a folder are the teacher, told without Paddle."""

from __future__ import annotations

import logging
from pathlib import Path

from ..errors import UserError
from ..export.file_names import NEW_PROGRAM
from ..student.spec import SPEC_FILE
from .weights import CONFIG_FILES, WEIGHT_FILES, checkpoint_files, of_pickles

_log = logging.getLogger(__name__)


def model_files(place: Path, model_filename: str | None = None, params_filename: str | None = None,
                setting: str = "Global.model_dir") -> list[Path]:
    """Return the files of the model that ``place`` is or holds, see `load_teacher`; an ONNX file comes alone.

    Args:
        setting: what has named ``place``, for messages.

    Raises:
        UserError: it is no model, or one that can't be a teacher, or holds several.
    """
    if place.suffix != ".onnx" and not place.is_dir():
        what = "not a folder" if place.exists() else "not there"
        raise UserError(f"{setting}: {place} is {what}; name the folder of the fine-tuned classifier, or its .onnx "
                        "file")
    paddle_files = []
    if place.is_dir() and not (model_filename or "").endswith(".onnx"):
        paddle_files = exported_files(place, model_filename, params_filename) or checkpoint_files(place)
    if paddle_files and (place / SPEC_FILE).is_file():
        raise UserError(f"{place}: holds a finished student ({SPEC_FILE}), no BERT that could teach; name the "
                        "folder of the classifier that has taught it, or of another")
    if paddle_files:
        if params_filename and paddle_files[0].name in CONFIG_FILES:
            raise UserError(f"Global.params_filename: {place} holds a checkpoint, which names its weights itself; "
                            "leave it out")
        if others := sorted(file.name for file in place.glob("*.onnx")):
            _log.info("the teacher is %s, not %s beside it, which Global.model_filename would name", paddle_files[-1],
                      " or ".join(others))
        return paddle_files
    onnx = onnx_file(place, model_filename, setting)
    if onnx is None:
        raise UserError(f"{place}: holds no model; looked for an inference model (.pdmodel or .json, with its "
                        f".pdiparams), for a checkpoint ({' or '.join(CONFIG_FILES)} with "
                        f"{' or '.join(WEIGHT_FILES)}) and for an ONNX file (.onnx)"
                        f"{of_onnx_folder(place) or of_pickles(place)}")
    if params_filename:
        raise UserError(f"Global.params_filename: {onnx} says itself where its weights are; leave it out")
    _log.info("the teacher is %s, which ONNX Runtime runs", onnx)
    return [onnx]


def exported_files(folder: Path, model_filename: str | None, params_filename: str | None) -> list[Path]:
    """Return the program and the parameters of the exported model; empty where the folder holds none."""
    if model_filename is None:
        new = [file for file in sorted(folder.glob(f"*{NEW_PROGRAM}")) if file.with_suffix(".pdiparams").is_file()]
        programs = sorted(folder.glob("*.pdmodel")) or new
        if not programs:
            return []
        if len(programs) > 1:
            names = ", ".join(program.name for program in programs)
            raise UserError(f"{folder}: holds {len(programs)} inference models ({names}); "
                            "name one as Global.model_filename")
        program = programs[0]
    else:
        program = folder / model_filename
        if not program.is_file():
            raise UserError(f"Global.model_filename: {program} is missing; name a file in {folder}")
    parameters = folder / params_filename if params_filename else program.with_suffix(".pdiparams")
    if not parameters.is_file():
        raise UserError(f"Global.params_filename: {parameters} is missing; name the parameters of {program.name}")
    return [program, parameters]


def onnx_file(place: Path, model_filename: str | None, setting: str) -> Path | None:
    """Return the ONNX file that ``place`` is, or that the folder ``place`` holds, if any.

    It is the one called ``model_filename``, or ``model.onnx``, or the only one there.

    Raises:
        UserError: it is missing, or there are several.
    """
    if place.suffix == ".onnx" and not place.is_dir():
        if not place.is_file():
            raise UserError(f"{setting}: {place} is missing; name the teacher's .onnx file, or a folder")
        return place
    if model_filename and model_filename.endswith(".onnx"):
        if not (place / model_filename).is_file():
            raise UserError(f"Global.model_filename: {place / model_filename} is missing; name a file in {place}"
                            f"{of_onnx_folder(place)}")
        return place / model_filename
    found = sorted(place.glob("*.onnx"))
    if len(found) > 1 and place / "model.onnx" not in found:
        raise UserError(f"{place}: holds {len(found)} ONNX models ({', '.join(file.name for file in found)}); name one "
                        "as Global.model_filename")
    return place / "model.onnx" if len(found) > 1 else next(iter(found), None)


def of_onnx_folder(place: Path) -> str:
    """Return how the ONNX file in the subfolder ``onnx`` is named, as on Hugging Face's hub, the end of an error; else
    nothing.
    """
    found = sorted(file.name for file in place.glob("onnx/*.onnx"))
    if not found:
        return ""
    name = "model.onnx" if "model.onnx" in found else found[0]
    return f"; for the one in its folder onnx, set Global.model_filename: onnx/{name}"
