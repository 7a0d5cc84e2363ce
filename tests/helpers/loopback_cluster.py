"""A Ray cluster of two CPUs on loopback: prints its address, and ends with its standard input.

The environment says where it listens and which token it asks for; Ray reads it on import.
"""

import sys

import ray

ray.init(
    address="local",
    num_cpus=2,
    num_gpus=0,
    include_dashboard=False,
    log_to_driver=False,
    logging_level="error",
    object_store_memory=100 * 2**20,
    _temp_dir=sys.argv[1],
)
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
