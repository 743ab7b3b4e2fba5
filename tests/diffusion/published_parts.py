"""Tiny models laid out as published: the files, names and shapes of the real ones, with few and small weights."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

WORDS = ("left", "right", "effusion", "no", "findings", "mass", ".")


def vae(folder: Path, latent_channels: int = 4, in_channels: int = 3) -> Path:
    from diffusers import AutoencoderKL

    torch.manual_seed(1)
    AutoencoderKL(
        in_channels=in_channels, out_channels=in_channels, latent_channels=latent_channels, norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8), layers_per_block=1, sample_size=64,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def unet(folder: Path, text_width: int, **more) -> Path:
    """As RadEdit's: widths in the ratio 1, 2, 4 ..., cross-attention below the first level."""
    from diffusers import UNet2DConditionModel

    torch.manual_seed(2)
    UNet2DConditionModel(
        sample_size=8, block_out_channels=(16, 32), layers_per_block=1, cross_attention_dim=text_width,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), norm_num_groups=8,
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), attention_head_dim=2, **more,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def biovil_t(folder: Path, weights: str = "model.safetensors") -> Path:
    """The repository's text side: config.json of model type cxr-bert, vocab.txt, weights of CXRBertModel."""
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(3)
    folder.mkdir(parents=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    sizes = {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
        "vocab_size": len(words), "max_position_embeddings": 128,
    }  # fmt: skip
    (folder / "config.json").write_text(
        json.dumps({**sizes, "model_type": "cxr-bert", "architectures": ["CXRBertModel"], "projection_size": 8,
                    "auto_map": {"AutoModel": "modeling_cxrbert.CXRBertModel"}})
    )  # fmt: skip
    state = {key: value.clone() for key, value in BertForMaskedLM(BertConfig(**sizes)).state_dict().items()}
    head = {"dense_to_hidden": (8, 32), "dense_to_output": (8, 8), "LayerNorm": (8,)}
    for name, shape in head.items():
        state[f"cls_projection_head.{name}.weight"] = torch.randn(shape)
        state[f"cls_projection_head.{name}.bias"] = torch.randn(8)
    state["bert.embeddings.position_ids"] = torch.arange(128)[None]
    if weights.endswith(".bin"):
        torch.save(state, folder / weights)
    else:
        save_file(state, folder / weights)
    return folder


def t5(folder: Path) -> Path:
    """T5 v1.1's files: config.json, spiece.model, a .bin of the whole network, of which the encoder is used."""
    import sentencepiece
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(4)
    folder.mkdir(parents=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(WORDS)] * 50 + list(WORDS) * 5), model_prefix=str(folder / "spiece"),
        vocab_size=40, hard_vocab_limit=False, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, minloglevel=2,
    )  # fmt: skip
    (folder / "spiece.vocab").unlink()
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "T5Tokenizer", "extra_ids": 100})
    )
    config = T5Config(
        vocab_size=160, d_model=16, d_kv=4, d_ff=32, num_layers=1, num_heads=4, feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
    )  # fmt: skip
    network = T5ForConditionalGeneration(config).bfloat16()
    config.save_pretrained(folder)
    torch.save(network.state_dict(), folder / "pytorch_model.bin")
    return folder


def stable_diffusion(folder: Path, prediction_type: str = "epsilon") -> Path:
    """A whole pipeline as RoentGen's: CLIP's text model, PNDM, a safety checker named in the index."""
    from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from synthorax.diffusion.networks import tokenizer

    torch.manual_seed(5)
    words = tokenizer(WORDS)
    text = CLIPTextModel(
        CLIPTextConfig(vocab_size=len(words), hidden_size=32, intermediate_size=64, num_hidden_layers=1,
                       num_attention_heads=2, max_position_embeddings=64, pad_token_id=0, eos_token_id=3)
    )  # fmt: skip
    StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(vae(folder / "vae")),
        text_encoder=text,
        tokenizer=words,
        unet=UNet2DConditionModel.from_pretrained(unet(folder / "unet", 32)),
        scheduler=PNDMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True,
            steps_offset=1, set_alpha_to_one=False, prediction_type=prediction_type,
        ),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def listed(name: str) -> dict[str, tuple[int, ...]]:
    """A published network's names and shapes from the list of that name; ``{a-b}`` stands for a range."""
    shapes = {}
    for line in (Path(__file__).parent / name).read_text().splitlines():
        if line and not line.startswith("#"):
            key, *shape = line.split()
            first, _, rest = key.partition("{")
            numbers, _, last = rest.partition("}")
            start, _, stop = numbers.partition("-")
            for i in range(int(start), int(stop) + 1) if rest else [None]:
                shapes[f"{first}{i}{last}" if rest else key] = tuple(map(int, shape))
    return shapes


def chexgen_weights(width: int = 384, depth: int = 2, text_width: int = 16, tokens: int = 120, size: int = 8):
    """Random weights of ChexGen's network, from the list of its names, at another size."""
    torch.manual_seed(6)
    scale = {
        1152: width,
        3456: 3 * width,
        2304: 2 * width,
        4608: 4 * width,
        6912: 6 * width,
        4096: text_width,
    }
    weights = {}
    for key, shape in listed("chexgen_keys.txt").items():
        if key.startswith("blocks.") and int(key.split(".")[1]) >= depth:
            continue
        weights[key] = torch.randn([scale.get(n, n) for n in shape]) * 0.05
    weights["y_embedder.y_embedding"] = torch.randn(tokens, text_width)
    weights["pos_embed"] = sines(width, size // 2, 2.0)[None]
    return weights


def sines(width: int, grid: int, scale: float) -> torch.Tensor:
    """The table of positions: for each patch, sines and cosines of its column, then of its row."""
    omega = 10000.0 ** -(torch.arange(width // 4, dtype=torch.float64) / (width / 4))
    waves = torch.arange(grid)[:, None] / scale * omega
    one = torch.cat([waves.sin(), waves.cos()], 1)
    return torch.cat([one.repeat(grid, 1), one.repeat_interleave(grid, 0)], 1).float()
