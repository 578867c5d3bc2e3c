"""What Paddle holds in memory after its models were used, and the mode that it is in."""

import threading

import numpy as np
import paddle
import pytest

from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.pipeline import augment, prepare
from paddleslim_bilstm.scopes import dynamic_mode, own_scope, static_mode

BYTES = 4 << 20


def held():
    return paddle.base.core.host_memory_stat_current_value("Allocated", 0)


def test_what_a_scope_holds_is_freed_with_it(in_old_programs):
    before, outer = held(), paddle.static.global_scope()
    with own_scope() as scope:
        scope.var("weight").get_tensor().set(np.zeros(BYTES // 4, np.float32), paddle.CPUPlace())
        assert paddle.static.global_scope() is scope and held() >= before + BYTES
    assert paddle.static.global_scope() is outer and held() < before + BYTES


@pytest.fixture
def dynamic():
    paddle.disable_static()
    yield
    paddle.enable_static()


def in_a_thread(work):
    """Return what ``work`` returns, or the error that it ends with, in a thread named ``other``."""
    answers = []

    def run():
        try:
            answers.append(work())
        except Exception as error:
            answers.append(error)
    thread = threading.Thread(target=run, name="other")
    thread.start()
    thread.join()
    return answers[0]


def test_another_thread_cant_leave_dynamic_mode_and_is_refused_in_one_line(dynamic, tmp_path):
    settings = {"Global": {"train_file": "train.tsv", "save_dir": str(tmp_path / "out")}, "bert_to_bilstm": {}}

    def enter():
        with static_mode():
            return "entered"
    for work in (enter, lambda: prepare(settings, needs_teacher=False), lambda: augment(settings)):
        error = in_a_thread(work)
        assert isinstance(error, UserError) and "\n" not in str(error)
        assert "main thread" in str(error) and "other" in str(error) and "multiprocessing" in str(error)
        assert paddle.in_dynamic_mode() and not (tmp_path / "out").exists()
    with static_mode():
        assert not paddle.in_dynamic_mode() and in_a_thread(enter) == "entered"  # it begins in the main thread's mode
    assert paddle.in_dynamic_mode()


def test_a_thread_in_dynamic_mode_stays_in_it_and_leaves_the_program_alone(dynamic):
    program = paddle.static.default_main_program()

    def work():
        with dynamic_mode():
            return paddle.in_dynamic_mode(), paddle.static.default_main_program() is program
    assert in_a_thread(work) == (True, True)
