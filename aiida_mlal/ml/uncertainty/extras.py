"""Bytes and texts among the extras of a potential, which are tensors."""

import numpy as np
import torch
from torch import Tensor


def to_tensor(content: bytes | str) -> Tensor:
    """Return bytes, or a text in UTF-8, as a tensor."""
    raw = content.encode() if isinstance(content, str) else content
    return torch.from_numpy(np.frombuffer(raw, np.uint8).copy())


def to_bytes(tensor: Tensor) -> bytes:
    """Return the bytes of a tensor that ``to_tensor`` made."""
    content: bytes = tensor.cpu().numpy().tobytes()
    return content


def to_text(tensor: Tensor) -> str:
    """Return the text of a tensor that ``to_tensor`` made."""
    return to_bytes(tensor).decode()
