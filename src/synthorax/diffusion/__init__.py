"""Diffusion models: train small ones, load published ones, sample from either.

A model is a ``diffusers`` pipeline folder or repo id with a ``vae``, a ``text_encoder``, a ``tokenizer``, a
``unet`` and a ``scheduler`` (the form of RadEdit, RoentGen and of the embedded default).
"""

__all__ = ["DiffusionModel", "load_model", "sample", "timesteps"]


def __getattr__(name: str):
    # torch and diffusers are imported when they are first needed, not with the package.
    if name in ("DiffusionModel", "load_model"):
        from synthorax.diffusion import model

        return getattr(model, name)
    if name in ("sample", "timesteps"):
        from synthorax.diffusion import sampling

        return getattr(sampling, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
