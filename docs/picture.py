"""The README's picture: six virtual patients, source, edit by the embedded model, true counterfactual.

    python docs/picture.py

The patients are seeds 1 to 6 in order, none dropped; the edit mask is where the finding changes the film.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from synthorax.diffusion import load_model
from synthorax.editing import edit
from synthorax.editing.masks import dilate
from synthorax.phantom import Atlas, VirtualPatient
from synthorax.runs.demo import MASK_MARGIN_PX, SCALES

OUT = Path(__file__).parent / "images" / "demo.png"
SIZE, MARGIN, TOP = 256, 90, 22
#: What is asked for: prompt, concept, and whether it is put in or taken out.
ASKED = (
    ("effusion", "effusion", True),
    ("pneumothorax", "absent_lung_markings", True),
    ("enlarged heart", "enlarged_heart", True),
    ("consolidation", "consolidation", True),
    ("mass", "mass", True),
    ("effusion", "effusion", False),
)


def main() -> None:
    """Write the picture."""
    model, settings = load_model(), SCALES["default"].edit
    domain = model.domain(is_simulated=True)
    columns = []
    for seed, (words, concept, is_added) in enumerate(ASKED, start=1):
        patient = VirtualPatient(seed, Atlas.load())
        healthy, sick = patient.render((), size=SIZE), patient.render([concept], size=SIZE)
        source, truth = (healthy, sick) if is_added else (sick, healthy)
        side = sick.sides.get(concept, "")
        said = f"{side} {words}.".strip().capitalize()
        prompts = (said, "No findings.") if is_added else ("No findings.", said)
        mask = dilate(sick.masks[concept] | (np.abs(sick.image - healthy.image) > 0.08), MASK_MARGIN_PX)
        edited = edit(
            source.image[None],
            [f"{domain} {prompts[0]}"],
            model=model,
            seeds=[seed],
            inversion_prompts=[f"{domain} {prompts[1]}"],
            negative_prompts=[domain],
            edit_masks=[mask],
            keep_masks=[~dilate(mask, MASK_MARGIN_PX)],
            guidance_scale=settings.guidance_scale,
            num_inference_steps=settings.num_inference_steps,
            skip=settings.skip,
        )[0]
        title = said.removesuffix(".") + ("" if is_added else " removed")
        columns.append((title, np.vstack([source.image, edited, truth.image])))
    sheet = Image.new("L", (MARGIN + SIZE * len(columns), TOP + 3 * SIZE), 255)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for i, (title, column) in enumerate(columns):
        left = MARGIN + SIZE * i
        sheet.paste(Image.fromarray(np.rint(column * 255).astype(np.uint8)), (left, TOP))
        pen.text((left + SIZE / 2, TOP / 2), title, fill=0, font=font, anchor="mm")
    for i, name in enumerate(("source", "edit", "truth")):
        pen.text((8, TOP + SIZE * (i + 0.5)), name, fill=0, font=font, anchor="lm")
    sheet.save(OUT, optimize=True)


if __name__ == "__main__":
    main()
