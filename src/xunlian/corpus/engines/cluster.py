"""The engine for more than one machine: the same tasks, carried out by Ray (the extra `ray`).

Every machine must see the folders of the input and of the corpus under the same names, and have
Xunlian installed. Tasks of a machine that is lost are carried out again elsewhere.
"""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import xunlian
from xunlian.corpus.engines.pool import answer, unpack
from xunlian.corpus.engines.tasks import Died, Run, Task, Told
from xunlian.corpus.extras import need
from xunlian.errors import InputError

_AHEAD = 2  # tasks that wait for each core
_RETRIES = 3  # on other machines, where one is lost


def on_ray(address: str | None, workers: int | None) -> Run:
    """Carries tasks out on Ray.

    Args:
        address: of a cluster; None starts one on this machine, for this job.
        workers: cores to use; by default all of the cluster.

    Raises:
        InputError: Ray is not installed, or there is no cluster at the address. A run: as the
            tasks.
        XunlianError: as the tasks.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report its use
    ray = need("ray", "ray")
    if not ray.is_initialized():
        _connect(ray, address, workers)
    cores = int(ray.cluster_resources().get("CPU", 1))
    limit = workers or cores * _AHEAD

    def run(tasks: Sequence[Task], told: Told) -> Iterator[tuple[int, Any]]:
        left = deque(enumerate(tasks))
        running: dict[Any, int] = {}
        while left or running:
            while left and len(running) < limit:
                number, task = left.popleft()
                # One that is done with care must tell each death of its process.
                retries = 0 if "suspicion" in task.arguments else _RETRIES
                remote = ray.remote(_remote).options(num_cpus=1, max_retries=retries)
                running[remote.remote(task._asdict(), os.getcwd())] = number
            done, _ = ray.wait(list(running), num_returns=1)
            for reference in done:
                yield running.pop(reference), _result(ray, reference, told)

    return run


def _result(ray: Any, reference: Any, told: Told) -> Any:
    try:
        return unpack(ray.get(reference), told)
    except ray.exceptions.OutOfMemoryError:
        return Died("for want of memory")
    except ray.exceptions.NodeDiedError:
        return Died("with its machine", blamed=False)
    except ray.exceptions.WorkerCrashedError:
        return Died("by a crash")


def _connect(ray: Any, address: str | None, workers: int | None) -> None:
    package = str(Path(xunlian.__file__).parents[1])
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    environment = {"env_vars": {"PYTHONPATH": path, "TOKENIZERS_PARALLELISM": "false"}}
    try:
        ray.init(
            address=address,
            num_cpus=None if address else workers,
            runtime_env=environment,
            log_to_driver=False,
            include_dashboard=None if address else False,
            configure_logging=False,
        )
    except (ConnectionError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"--address {address}: no Ray cluster answers ({reason}). Start one: ray start --head"
        ) from error


def _remote(task: dict[str, Any], folder: str) -> dict[str, Any]:
    os.chdir(folder)  # what the user named relative to it
    amount = 0

    def told(more: int) -> None:
        nonlocal amount
        amount += more

    return {**answer(Task(**task), told), "told": amount}
