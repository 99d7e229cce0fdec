"""What the node's machine has and uses: CPU, memory, GPUs. Reads only."""

from __future__ import annotations

import psutil
import pynvml  # type: ignore[import-untyped]

from harness.core.deployment import Gpu


def cpu_percent() -> float:
    """Use of all cores since the last call, 0-100."""
    return psutil.cpu_percent(interval=None)


def memory_bytes() -> tuple[int, int]:
    """Total, and in use."""
    memory = psutil.virtual_memory()
    return memory.total, memory.total - memory.available


def gpus() -> tuple[Gpu, ...]:
    """The GPUs that NVML reports; none where there is no driver, which is a fact and no error."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        handles = (pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount()))
        return tuple(_gpu(handle) for handle in handles)
    finally:
        pynvml.nvmlShutdown()


def _gpu(handle: object) -> Gpu:
    return Gpu(
        uuid=pynvml.nvmlDeviceGetUUID(handle),
        model=pynvml.nvmlDeviceGetName(handle),
        memory_bytes=int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
        mig=_mig(handle),
    )


def _mig(handle: object) -> bool | None:
    """None for a GPU that does not know MIG."""
    try:
        current, _ = pynvml.nvmlDeviceGetMigMode(handle)
    except pynvml.NVMLError:
        return None
    return bool(current == pynvml.NVML_DEVICE_MIG_ENABLE)
