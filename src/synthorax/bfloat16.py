"""Does a device multiply bfloat16 in hardware? Where it does not, bfloat16 is emulated, several times slower than float32."""


def is_fast(device: str) -> bool:
    """Whether networks should compute in bfloat16 on a torch device: ``cpu``, ``cuda``, ``cuda:1`` ..."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device == "cpu" and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
