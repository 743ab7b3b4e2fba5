"""Named sentences and what they say: the traps that report labellers fall into."""

import pytest

from synthorax.concepts import Vocabulary, annotate

VOCABULARY = Vocabulary.load()
PTX, EFF, HEART, CONS = "absent_lung_markings", "effusion", "enlarged_heart", "consolidation"
A, U, N, H = "asserted", "uncertain", "negated", "historical"

#: Name -> sentence, and the state of each concept that must be mentioned; a concept mapped to None must not
#: be mentioned at all.
CASES = {
    # negation before
    "no": ("No pneumothorax.", {PTX: N}),
    "no, list with or": ("No pneumothorax, effusion, or consolidation.", {PTX: N, EFF: N, CONS: N}),
    "no, list without or": ("No pneumothorax, pleural effusion.", {PTX: N, EFF: N}),
    "no, list seen": ("No pneumothorax, effusion or consolidation is seen.", {PTX: N, EFF: N, CONS: N}),
    "there is no": ("There is no focal consolidation.", {CONS: N}),
    "no evidence of": ("No evidence of pneumothorax or effusion.", {PTX: N, EFF: N}),
    "no radiographic evidence": ("No radiographic evidence of pneumonia.", {"pneumonitis": N}),
    "without": ("Clear lungs without effusion.", {EFF: N}),
    "without evidence of": ("The lungs are clear, without evidence of infiltrate.", {"opacities": N}),
    "negative for": ("Negative for pneumothorax or pleural effusion.", {PTX: N, EFF: N}),
    "clear of": ("Lungs are clear of focal airspace disease, pneumothorax, or effusion.", {PTX: N, EFF: N}),
    "free of": ("The lungs are free of focal consolidation.", {CONS: N}),
    "absence of": ("Absence of pleural effusion.", {EFF: N}),
    "neither nor": ("Neither effusion nor pneumothorax.", {EFF: N, PTX: N}),
    "rather than": ("Atelectasis rather than pneumonia.", {"pneumonitis": N}),
    "no findings to suggest": ("No findings to suggest pneumonia.", {"pneumonitis": N}),
    "no opacity concerning for": ("No opacity concerning for pneumonia.", {"opacities": N, "pneumonitis": N}),
    "no acute disease then effusion": ("No acute cardiopulmonary disease or effusion.", {EFF: N}),
    "not a longer word": ("Nodular opacity. Massive effusion.", {"nodule": A, "mass": None, EFF: A}),
    "inside a word": ("Left midlung nodule.", {"nodule": A}),
    # negation after
    "not seen": ("Pneumothorax is not seen.", {PTX: N}),
    "not identified": ("Pleural effusions are not identified.", {EFF: N}),
    "absent": ("Effusion is absent.", {EFF: N}),
    "none after colon": ("Pneumothorax: none.", {PTX: N}),
    "unlikely": ("Pneumonia is unlikely.", {"pneumonitis": N}),
    "ruled out": ("Pneumothorax has been ruled out.", {PTX: N}),
    "no longer seen": ("The effusion is no longer seen.", {EFF: N}),
    "not past the comma": ("Effusion on the left, pneumothorax is not seen.", {EFF: A, PTX: N}),
    "heart not enlarged": ("The heart is not enlarged.", {HEART: None}),
    "no longer a": ("There is no longer a pleural effusion.", {EFF: N}),
    "no new": ("No new consolidation.", {CONS: N}),
    # where a negation ends
    "but": ("No pneumothorax but a small effusion.", {PTX: N, EFF: A}),
    "however": ("No pneumothorax, however effusion.", {PTX: N, EFF: A}),
    "with": ("No cardiomegaly with bilateral effusions.", {HEART: N, EFF: A}),
    "stable": ("No pneumothorax, stable cardiomegaly.", {PTX: N, HEART: A}),
    "persistent": ("No consolidation, persistent effusion.", {CONS: N, EFF: A}),
    "clause with its own verb": ("No pneumothorax, the heart is enlarged.", {PTX: N, HEART: A}),
    "verb after the finding": ("No pneumothorax, a pleural effusion remains.", {PTX: N, EFF: A}),
    "and a clause": ("No effusion is seen, and the heart is enlarged.", {EFF: N, HEART: A}),
    "new statement": ("No pneumothorax, small left effusion.", {PTX: N, EFF: A}),
    "large in a list": ("No consolidation, large effusion, or pneumothorax.", {CONS: N, EFF: N, PTX: N}),
    "semicolon": ("No pneumothorax; effusion.", {PTX: N, EFF: A}),
    "full stop": ("No pneumothorax. Effusion.", {PTX: N, EFF: A}),
    "full stop without space": ("No pneumothorax.Effusion.", {PTX: N, EFF: A}),
    "there is": ("No pneumothorax and there is an effusion.", {PTX: N, EFF: A}),
    # triggers that are none
    "no change in": ("No change in the left effusion.", {EFF: A}),
    "no significant interval change": ("No significant interval change in cardiomegaly.", {HEART: A}),
    "no increase in": ("No increase in pleural effusion.", {EFF: A}),
    "not only": ("Not only effusion but also consolidation.", {EFF: A, CONS: A}),
    "cannot exclude": ("Cannot exclude pneumonia.", {"pneumonitis": U}),
    "cannot be excluded": ("Small effusion cannot be excluded.", {EFF: U}),
    "not entirely excluded": ("Pneumonia is not entirely excluded.", {"pneumonitis": U}),
    # uncertainty
    "possible": ("Possible pneumonia.", {"pneumonitis": U}),
    "may represent": ("Findings may represent pneumonia.", {"pneumonitis": U}),
    "opacity that may be pneumonia": ("Opacity may represent pneumonia.", {"opacities": A, "pneumonitis": U}),
    "suggestive of": ("Changes suggestive of infection.", {"infection": U}),
    "suspected": ("Suspected small pneumothorax.", {PTX: U}),
    "questionable": ("Questionable nodule in the left apex.", {"nodule": U}),
    "is suspected": ("A small effusion is suspected.", {EFF: U}),
    "versus": ("Atelectasis versus consolidation.", {CONS: U}),
    "uncertain ends at the sentence": ("Possible nodule. Effusion.", {"nodule": U, EFF: A}),
    "negation beats uncertainty": ("No evidence of possible effusion.", {EFF: N}),
    "top-normal heart": ("Top-normal heart size.", {HEART: U}),
    # history
    "history of": ("History of pneumonia.", {"pneumonitis": H}),
    "resolved": ("The right effusion has resolved.", {EFF: H}),
    "resolved since": ("Pneumothorax resolved since the prior film.", {PTX: H}),
    "not resolved": ("The left effusion has not resolved.", {EFF: A}),
    "nearly resolved, other persists": ("Resolution of the pneumothorax, but effusion persists.", {PTX: H, EFF: A}),
    "previously seen": ("Previously seen effusion.", {EFF: H}),
    "previously seen, still there": ("Previously seen effusion is unchanged.", {EFF: A}),
    "interval clearing": ("Interval clearing of consolidation.", {CONS: H}),
    "resolution of": ("Interval resolution of the left effusion.", {EFF: H}),
    "compared to the prior": ("Compared to the prior film, effusion has increased.", {EFF: A}),
    # other organs, and what is benign
    "pericardial effusion": ("Pericardial effusion.", {EFF: None}),
    "pericardial or pleural": ("Pericardial or pleural effusion.", {EFF: A}),
    "thyroid mass": ("Thyroid mass.", {"mass": None}),
    "breast mass": ("Left breast mass.", {"mass": None}),
    "bone metastasis": ("Osseous metastatic disease.", {"irregular_parenchyma": None}),
    "mass in the liver": ("Mass in the liver.", {"mass": None}),
    "renal nodule": ("Renal nodule.", {"nodule": None}),
    "granulomatous infection": ("Sequela of granulomatous infection.", {"infection": None}),
    "calcified nodule": ("Calcified nodule in the right lung.", {"nodule": None}),
    "calcified at a distance": ("Calcified right upper lobe nodule.", {"nodule": None}),
    "nodule is calcified": ("The nodule is calcified.", {"nodule": None}),
    "calcified granuloma": ("Calcified granuloma.", {"nodule": None}),
    "noncalcified nodule": ("Noncalcified nodule.", {"nodule": A}),
    "non-calcified nodule": ("Non-calcified nodule.", {"nodule": A}),
    "without calcification": ("Lung nodule without calcification.", {"nodule": A}),
    # decimals, lists, holes
    "decimal": ("No effusion. A 1.3 cm nodule.", {EFF: N, "nodule": A}),
    "decimal inside a negation": ("No nodule above 0.5 cm, no mass.", {"nodule": N, "mass": N}),
    "list numbers": ("1. No pneumothorax.\n2. Effusion.\n3. Cardiomegaly", {PTX: N, EFF: A, HEART: A}),
    "list without stops": ("1. No pneumothorax\n2. Effusion", {PTX: N, EFF: A}),
    "bullets": ("- No pneumothorax\n- Cardiomegaly", {PTX: N, HEART: A}),
    "wrapped line": ("No pleural\n effusion or\n pneumothorax.", {EFF: N, PTX: N}),
    "XXXX": ("Blunting of the costophrenic XXXX.", {"costophrenic_angle": A}),
    "___": ("Left effusion, compared to ___, is unchanged.", {EFF: A}),
    # two-part findings
    "heart is enlarged": ("The heart is mildly enlarged.", {HEART: A}),
    "enlarged cardiac silhouette": ("Moderately enlarged cardiac silhouette.", {HEART: A}),
    "enlargement of the heart": ("Enlargement of the heart.", {HEART: A}),
    "no enlargement of the heart": ("No enlargement of the heart.", {HEART: N}),
    "heart normal, aorta enlarged": ("Heart is normal, aorta is enlarged.", {HEART: None}),
    "blunted angle": ("The right costophrenic angle is blunted.", {"costophrenic_angle": A}),
    "angle sharp": ("The costophrenic angles are sharp.", {"costophrenic_angle": None}),
    "angle not blunted": ("No blunting of the costophrenic angles.", {"costophrenic_angle": N}),
    "inverted diaphragm": ("Inverted left hemidiaphragm.", {"irregular_diaphragm": A}),
    "diaphragm inverted": ("The right hemidiaphragm is inverted.", {"irregular_diaphragm": A}),
    "flattened on one side": ("Flattened left hemidiaphragm.", {"irregular_diaphragm": U}),
    "flattened in emphysema": ("Flattened hemidiaphragms in emphysema.", {"irregular_diaphragm": None}),
    "hilum full": ("The left hilum is full.", {"irregular_hilum": A}),
    # one word, two findings
    "hydropneumothorax": ("Right hydropneumothorax.", {PTX: A, EFF: A}),
    "plural": ("Bilateral pneumothoraces and consolidations.", {PTX: A, CONS: A}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_state(name):
    sentence, expected = CASES[name]
    mentions = annotate(sentence, VOCABULARY).mentions
    found = {concept: {m.state for m in mentions if m.concept == concept} for concept in expected}
    assert found == {concept: {state} if state else set() for concept, state in expected.items()}
