"""The end of Ray: what a thread frees meanwhile must not end the process."""

import subprocess
import sys
import textwrap

import pytest

FREED_MEANWHILE = """
    import gc, threading
    import ray
    from raypeft.launch.starting import end_ray

    ray.init(address="local", num_cpus=1, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    held = [ray.put(number) for number in range(20_000)]
    ending = threading.Thread(target=end_ray)
    ending.start()
    while ending.is_alive():
        if gc.isenabled() and held:  # then Python may collect garbage in any thread, at any moment
            held.pop()
    assert gc.isenabled()
    print("alive")
"""


@pytest.mark.ray
def test_garbage_that_holds_results_of_ray_does_not_end_the_process_while_ray_shuts_down():
    script = textwrap.dedent(FREED_MEANWHILE)
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert (run.returncode, run.stdout) == (0, "alive\n"), run.stderr
