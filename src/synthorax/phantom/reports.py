"""A radiologist's report for a virtual patient: what is present with side and severity, what is absent denied.

Wordings are varied, and each names its own concept alone, so that a careful annotator reads back exactly the
concepts that were put in. A label of which any concept is present is never denied.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from synthorax.concepts import Vocabulary
from synthorax.phantom.findings import INCIDENTAL, SIDE_WORDS
from synthorax.seeds import generator

#: ``{side}`` left or right; ``{where}`` 'left lung' or 'both lungs'; ``{severity}``, ``{lobe}``, ``{size}`` from the drawing.
FINDINGS: dict[str, tuple[str, ...]] = {
    "mass": (
        "There is a {size} mass in the {side} lung.",
        "A {size} {side} lung mass is present.",
        "{Side} lung mass measuring {size}.",
        "A lobulated mass projects over the {side} lung, measuring {size}.",
        "Large mass in the {side} lung, about {size} across.",
    ),
    "nodule": (
        "There is a {size} nodule in the {side} lung.",
        "A {size} pulmonary nodule is seen on the {side}.",
        "Solitary {size} nodule projecting over the {side} lung.",
        "{Side} lung nodule, {size}.",
        "A {size} nodular density is present in the {side} lung.",
    ),
    "irregular_hilum": (
        "The {side} hilum is enlarged and irregular in outline.",
        "{Side} hilar enlargement with an irregular contour.",
        "There is {side} hilar fullness.",
        "The {side} hilum is bulbous.",
        "{Side} hilar prominence is noted.",
    ),
    "adenopathy": (
        "There is bilateral hilar and right paratracheal adenopathy.",
        "Bulky mediastinal lymphadenopathy on both sides.",
        "Bilateral hilar lymphadenopathy with a widened right paratracheal stripe.",
        "Mediastinal adenopathy is present bilaterally.",
        "Bilateral hilar adenopathy.",
    ),
    "irregular_parenchyma": (
        "Multiple pulmonary metastases are scattered through both lungs.",
        "Findings of metastatic disease in both lungs.",
        "Numerous round metastatic deposits throughout both lungs.",
        "There are innumerable pulmonary metastases bilaterally.",
        "Both lungs show diffuse metastatic disease.",
    ),
    "pneumonitis": (
        "Multifocal bronchopneumonia in the {side} lung.",
        "Findings of pneumonia scattered through the {side} lung.",
        "There is {side}-sided pneumonitis.",
        "{Side} lung pneumonia with several foci.",
        "Scattered foci of airspace disease in the {side} lung.",
    ),
    "consolidation": (
        "There is {severity} consolidation in the {lobe}.",
        "Dense consolidation of the {lobe}.",
        "{Severity} {lobe} consolidation is present.",
        "Consolidation is seen in the {lobe}.",
        "The {lobe} shows {severity} consolidation.",
    ),
    "infection": (
        "Findings at the {side} lung base are consistent with infection.",
        "There is an infectious process at the {side} base.",
        "Infection at the {side} lung base with a central lucency.",
        "{Side} basal infection.",
        "Infectious process in the {side} lower lung.",
    ),
    "opacities": (
        "Ground-glass opacities in {where}.",
        "Patchy opacities are seen in {where}.",
        "There are {severity} hazy opacities in {where}.",
        "Ill-defined opacities throughout {where}.",
        "{Severity} ground glass opacities involve {where}.",
    ),
    "effusion": (
        "There is a {severity} {side} pleural effusion.",
        "{Severity} {side} pleural effusion.",
        "A {severity} {side}-sided effusion is present.",
        "{Side} pleural effusion, {severity} in size.",
        "{Severity} effusion on the {side}.",
    ),
    "fluid": (
        "There is {severity} pleural fluid along the {side} lateral chest wall.",
        "Loculated {side} pleural fluid.",
        "A fluid collection lies against the {side} lateral chest wall.",
        "{Side} pleural fluid, loculated laterally.",
        "Layering fluid along the {side} chest wall.",
    ),
    "meniscus_sign": (
        "A meniscus sign is seen at the {side} base.",
        "Meniscus sign on the {side}.",
        "There is a {side} basal meniscus sign.",
        "The {side} lung base shows a meniscus sign.",
    ),
    "costophrenic_angle": (
        "There is blunting of the {side} costophrenic angle.",
        "The {side} costophrenic angle is blunted.",
        "Blunted {side} costophrenic angle.",
        "Mild blunting of the {side} costophrenic angle.",
    ),
    "enlarged_heart": (
        "The heart is enlarged.",
        "There is {severity} cardiomegaly.",
        "{Severity} cardiomegaly.",
        "The cardiac silhouette is enlarged.",
        "The heart size is {severity}ly enlarged.",
        "{Severity} cardiac enlargement.",
    ),
    "absent_lung_markings": (
        "There is a {severity} {side} pneumothorax.",
        "{Severity} {side} pneumothorax.",
        "A {severity} {side}-sided pneumothorax is present with absent lung markings laterally.",
        "{Side} pneumothorax, {severity} in size.",
        "{Side} apical and lateral pneumothorax.",
    ),
    "irregular_diaphragm": (
        "Inverted hemidiaphragm on the {side}.",
        "There is an inverted hemidiaphragm on the {side} with a deep sulcus.",
        "An inverted diaphragm is seen on the {side}.",
        "{Side}-sided inverted hemidiaphragm.",
    ),
}

#: Hedges that leave the finding present (a doubt would leave it unknown).
HEDGES = ("Likely ", "Probable ", "Findings compatible with ", "Appearances in keeping with ")

IMPRESSIONS: dict[str, tuple[str, ...]] = {
    "mass": ("{Side} lung mass.", "{Side} lung mass, suspicious for malignancy."),
    "nodule": ("{Side} lung nodule.", "{Size} {side} pulmonary nodule."),
    "irregular_hilum": ("{Side} hilar enlargement.", "Enlarged {side} hilum."),
    "adenopathy": ("Bilateral hilar adenopathy.", "Mediastinal lymphadenopathy."),
    "irregular_parenchyma": ("Pulmonary metastases.", "Pulmonary metastatic disease."),
    "pneumonitis": ("{Side} lung pneumonia.", "{Side} bronchopneumonia."),
    "consolidation": ("{Lobe} consolidation.", "Consolidation in the {side} lung."),
    "infection": ("{Side} basal infection.", "Infectious process at the {side} base."),
    "opacities": ("Ground-glass opacities in {where}.", "Patchy opacities in {where}."),
    "effusion": ("{Severity} {side} pleural effusion.", "{Side} effusion."),
    "fluid": ("{Side} pleural fluid.", "Loculated {side} pleural fluid."),
    "meniscus_sign": ("Meniscus sign at the {side} base.",),
    "costophrenic_angle": (
        "Blunting of the {side} costophrenic angle.",
        "Blunted {side} costophrenic angle.",
    ),
    "enlarged_heart": ("Cardiomegaly.", "Enlarged heart."),
    "absent_lung_markings": ("{Severity} {side} pneumothorax.", "{Side} pneumothorax."),
    "irregular_diaphragm": ("Inverted hemidiaphragm on the {side}.",),
}

DENIALS: dict[str, tuple[str, ...]] = {
    "Pneumothorax": ("No pneumothorax.", "There is no pneumothorax.", "No definite pneumothorax."),
    "Pneumonia": (
        "No focal consolidation.",
        "There is no consolidation.",
        "No convincing evidence of pneumonia.",
    ),
    "Pleural Effusion": ("No pleural effusion.", "No obvious pleural effusion.", "No effusion is seen."),
    "Cardiomegaly": ("The heart is not enlarged.", "No cardiomegaly.", "There is no cardiomegaly."),
    "Suspicious Malignancy": (
        "No suspicious nodule or mass.",
        "No definite pulmonary nodule.",
        "No mass is identified.",
    ),
}
_DENIED = {
    "Pneumothorax": "pneumothorax",
    "Pneumonia": "consolidation",
    "Pleural Effusion": "pleural effusion",
    "Suspicious Malignancy": "suspicious nodule",
}

INCIDENTALS: dict[str, tuple[str, ...]] = {
    "oedema": ("Interstitial pulmonary edema.", "Vascular congestion with pulmonary edema."),
    "atelectasis": (
        "Linear atelectasis at the {side} base.",
        "Plate-like atelectasis at the {side} lung base.",
    ),
    "lobar_collapse": (
        "{Lobe} atelectasis with volume loss.",
        "Collapse of the {lobe}: {severity} atelectasis with shift to the {side}.",
    ),
    "reticulonodular": (
        "{Severity} reticulonodular interstitial pattern in both lungs.",
        "Diffuse reticulonodular interstitial markings.",
    ),
    "chest_drain": ("A {side} chest tube is in place.", "{Side} chest drain in situ."),
    "pacemaker": ("Left-sided dual-lead pacemaker.", "A left chest wall pacemaker is present."),
    "ecg": ("ECG leads project over the chest.", "Monitoring leads overlie the chest."),
    "tubes": ("{Which} in place.", "{Which} in situ."),
}

NORMAL_FINDINGS = (
    "The lungs are clear.",
    "Lungs are clear.",
    "Heart size is normal.",
    "The cardiac silhouette is within normal limits.",
    "Normal hilar contours.",
    "The bony thorax is unremarkable.",
    "Cardiac and mediastinal contours are unremarkable.",
)
NORMAL_IMPRESSIONS = (
    "No acute cardiopulmonary abnormality.",
    "No acute cardiopulmonary process.",
    "Normal chest radiograph.",
    "Unremarkable chest radiograph.",
    "No acute cardiopulmonary disease.",
)


def write_report(
    findings: Mapping[str, Mapping[str, object]],
    incidentals: Mapping[str, Mapping[str, object]],
    *,
    is_unremarkable: bool,
    view_position: str,
    seed: int,
    vocabulary: Vocabulary | None = None,
) -> str:
    """FINDINGS and IMPRESSION for one film.

    Args:
        findings: concept to its drawn parameters (``side``, ``severity`` and, where drawn, ``lobe``, ``diameter_mm``).
        incidentals: findings and devices without a concept, to their parameters.
        is_unremarkable: whether to call the film normal; only where there are no findings.
        view_position: PA or AP, for the technique line.
        seed: chooses the wording.
        vocabulary: default ``corpa``.
    """
    rng = generator(seed, "report")
    vocabulary = vocabulary or Vocabulary.load()
    present = {vocabulary.label_of(concept) for concept in findings}
    absent = [label for label in vocabulary.pathology_labels if label not in present]
    sentences = [_say(_one(rng, FINDINGS[concept]), params) for concept, params in findings.items()]
    rng.shuffle(sentences)
    sentences += [_say(_one(rng, INCIDENTALS[name]), params) for name, params in incidentals.items()]
    if is_unremarkable:
        normal = [NORMAL_FINDINGS[i] for i in rng.choice(len(NORMAL_FINDINGS), 2, replace=False)]
        sentences = normal + sentences
    sentences += _deny(rng, absent)
    impression = [_say(_one(rng, IMPRESSIONS[concept]), params) for concept, params in findings.items()]
    impression = [_hedge(generator(seed, "hedge", i), line) for i, line in enumerate(impression)]
    if is_unremarkable:
        impression = [_one(rng, NORMAL_IMPRESSIONS)]
    elif not impression:
        disease = [name for name in incidentals if INCIDENTAL[name].is_disease]
        impression = [_say(_one(rng, INCIDENTALS[name]), incidentals[name]) for name in disease]
    if len(impression) > 1 and rng.random() < 0.5:
        impression = [f"{i}. {line}" for i, line in enumerate(impression, start=1)]
    opening = _one(
        rng, ("", f"Single {view_position} view of the chest. ", f"{view_position} chest radiograph. ")
    )
    return f"FINDINGS: {opening}{' '.join(sentences)}\nIMPRESSION: {' '.join(impression)}"


def _deny(rng: np.random.Generator, absent: Sequence[str]) -> list[str]:
    """Deny some of the absent labels, in one sentence or in several."""
    told = [label for label in absent if rng.random() < 0.75]
    in_list = [_DENIED[label] for label in told if label in _DENIED]
    if len(in_list) > 1 and rng.random() < 0.5:
        joined = ", ".join(in_list[:-1]) + f" or {in_list[-1]}"
        rest = [_one(rng, DENIALS[label]) for label in told if label not in _DENIED]
        return [f"No {joined}.", *rest]
    return [_one(rng, DENIALS[label]) for label in told]


def _hedge(rng: np.random.Generator, line: str) -> str:
    """One line in seven is hedged."""
    return _one(rng, HEDGES) + line[:1].lower() + line[1:] if rng.random() < 1 / 7 else line


def _say(template: str, params: Mapping[str, object]) -> str:
    side = SIDE_WORDS[str(params["side"])]
    size = f"{float(str(params['diameter_mm'])) / 10:.1f} cm" if "diameter_mm" in params else ""
    lobe = str(params.get("lobe", "")).replace("_", " ") + " lobe"
    words = {
        "side": side,
        "where": "both lungs" if side == "bilateral" else f"the {side} lung",
        "severity": str(params.get("severity", "")),
        "size": size,
        "lobe": lobe,
        "which": " and ".join(map(str, params.get("which", ()))),  # type: ignore[call-overload]
    }
    words |= {key.capitalize(): value[:1].upper() + value[1:] for key, value in words.items()}
    return template.format(**words)


def _one(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]
