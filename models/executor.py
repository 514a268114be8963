"""vLLM's executor of worker processes, for machines that compute on the cores they also serve from (edge: vllm).

Owns how an engine core waits for its worker. vLLM lets it spin for a second after every answer, which is right beside a
GPU; with the worker on one core of two, the spinning takes the other from gateway, proxy and everybody else.
"""

from vllm.v1.executor.multiproc_executor import MultiprocExecutor


class BlockingExecutor(MultiprocExecutor):
    """Sleeps until the worker has answered; everything else is `MultiprocExecutor` (vLLM's `mp`)."""

    def _post_init_executor(self) -> None:
        super()._post_init_executor()
        for queue in self.response_mqs:
            queue._spin_condition.busy_loop_s = 0
