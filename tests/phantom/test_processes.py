"""Work spread over processes."""

import operator

from threadpoolctl import threadpool_info

from synthorax.phantom.processes import in_processes


def test_each_process_takes_one_thread():
    for libraries in in_processes(operator.call, [threadpool_info, threadpool_info], 2):
        assert libraries and {library["num_threads"] for library in libraries} == {1}


def test_results_come_in_order():
    assert list(in_processes(abs, [-3, 1, -2], 2)) == [3, 1, 2] == list(in_processes(abs, [-3, 1, -2], 1))
