"""In NCCL's place. vLLM names the class by its path, so it has a module of its own."""

from __future__ import annotations

from typing import Any

import torch
from vllm.distributed.device_communicators.base_device_communicator import DeviceCommunicatorBase


class Communicator(DeviceCommunicatorBase):
    """Exchanges nothing. An all-reduce writes to a new tensor, as NCCL's does in vLLM."""

    def all_reduce(self, input_: Any) -> Any:
        return torch.empty_like(input_)
