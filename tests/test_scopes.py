"""What Paddle holds in memory after its models were used."""

import numpy as np
import paddle

from paddleslim_bilstm.scopes import own_scope

BYTES = 4 << 20


def held():
    return paddle.base.core.host_memory_stat_current_value("Allocated", 0)


def test_what_a_scope_holds_is_freed_with_it(in_old_programs):
    before, outer = held(), paddle.static.global_scope()
    with own_scope() as scope:
        scope.var("weight").get_tensor().set(np.zeros(BYTES // 4, np.float32), paddle.CPUPlace())
        assert paddle.static.global_scope() is scope and held() >= before + BYTES
    assert paddle.static.global_scope() is outer and held() < before + BYTES
