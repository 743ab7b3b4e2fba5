"""Which classifiers a protocol trains for a backbone and a seed: on which films, from which weights, against which."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from synthorax.classifiers.backbones import has_weights
from synthorax.classifiers.examples import Examples
from synthorax.classifiers.head import HeadConfig
from synthorax.classifiers.training import TrainingConfig
from synthorax.downstream.fitting import FittingConfig
from synthorax.errors import InputError
from synthorax.proof.cohort import Arm, Cohort, FilmSets, some, some_of_each, some_patients
from synthorax.proof.recipe import Recipe


@dataclass(frozen=True)
class Training:
    """One cell of the grid.

    Attributes:
        name: the arm.
        films: what it is trained on.
        validation: real films for the thresholds.
        config: of the whole network, or of its last layer alone (:class:`HeadConfig`).
        start: the training whose weights it goes on from.
        against: the training it is compared with.
        tests: name of a row -> films that it is tested on; empty where it is only a start for others.
    """

    name: str
    films: Examples
    validation: Examples
    config: TrainingConfig | HeadConfig | FittingConfig
    start: str | None = None
    against: str | None = None
    tests: Mapping[str, Examples] = field(default_factory=dict)


def cars_paper(recipe: Recipe, cohort: Cohort, backbone: str, seed: int) -> list[Training]:
    """CARS section 2: a baseline, then its last layer alone on equally many films of each method."""
    films = recipe.values("films")
    n = min([films["n_synthetic"], *(len(arm.examples) for arm in cohort.arms.values())])
    tests = cohort.tests
    baseline = Training(
        "baseline", cohort.train, cohort.validation, recipe.training("training", backbone=backbone, seed=seed),
        tests=tests,
    )  # fmt: skip
    head = HeadConfig(**recipe.values("head"), seed=seed)
    share = films["synthetic_train_fraction"]
    return [
        baseline,
        *(
            Training(
                name, some_patients(some(arm.examples, n, seed), share, seed), cohort.validation, head,
                start="baseline", against="baseline", tests=tests,
            )
            for name, arm in cohort.arms.items()
        ),
    ]  # fmt: skip


def mix(recipe: Recipe, cohort: FilmSets, backbone: str, seed: int) -> list[Training]:
    """Real films with k times as many synthetic ones, k = 0 first; of classifiers and of the other downstream tasks."""
    config: TrainingConfig | FittingConfig
    if "training" in recipe.sections:
        config = recipe.training("training", backbone=backbone, seed=seed)
    else:
        config = recipe.fitting(seed)
    films = recipe.values("films")
    real = Training("real", cohort.train, cohort.validation, config, tests=cohort.tests)
    multiples = [k for k in films["multiples"] if k > 0]

    def with_films(name: str, arm: Arm, k: float) -> Training:
        share = max(1, round(config.epochs / (1 + k))) if films["equal_steps"] else config.epochs
        return replace(
            real, name=f"real + {k:g} x {name}", films=cohort.train + _times(arm.examples, k, cohort, name, seed),
            against="real", config=replace(config, epochs=share),
        )  # fmt: skip

    return [real, *(with_films(name, arm, k) for name, arm in cohort.arms.items() for k in multiples)]


def pretrain(recipe: Recipe, cohort: Cohort, backbone: str, seed: int) -> list[Training]:
    """ChexGen: a share of the real films, or n of each class, from scratch, from ImageNet, and after synthetic ones."""
    films = recipe.values("films")
    shares = {
        f"{100 * fraction:g} %": some_patients(cohort.train, fraction, seed)
        for fraction in films.get("fractions") or ()
    }
    shares |= {f"{n}-shot": some_of_each(cohort.train, n, seed) for n in films.get("shots") or ()}
    return _after_pretraining(recipe, cohort, backbone, seed, shares)


def unseen_sites(recipe: Recipe, cohort: Cohort, backbone: str, seed: int) -> list[Training]:
    """Real films of the other sites alone, with synthetic films mixed in, and after synthetic films (RoentGen-v2)."""
    sites = sorted({site for site in cohort.sites.values() if site is not None})
    column = recipe.values("films")["site_column"]
    if len(sites) < 2:
        raise InputError(
            f"the manifest's column {column!r} names {len(sites)} site; a protocol of unseen sites needs two or more. "
            "Put the manifests of several sets together, or name another column by --set films.site_column=..."
        )
    given = recipe.values("films")["held_out_sites"]
    if unknown := sorted({*(given or ())} - {*sites}):
        raise InputError(
            f"films.held_out_sites names {unknown[0]!r}; the manifest's sites are {', '.join(sites)}."
        )
    groups = [[site] for site in sites] if given is None else [given]
    trainings = []
    for group in groups:
        held_out = {image_id for image_id, site in cohort.sites.items() if site in group}
        unseen = cohort.real.where([image_id in held_out for image_id in cohort.real.image_ids])
        tests = {
            site: unseen.where([cohort.sites[image_id] == site for image_id in unseen.image_ids])
            for site in group
        }
        patients = {*unseen.patient_ids}
        train, validation = (
            films.where([patient not in patients for patient in films.patient_ids])
            for films in (cohort.train, cohort.validation)
        )
        if not len(train) or not len(validation):
            raise InputError(
                f"without {', '.join(group)} there are {len(train)} training and {len(validation)} validation films; "
                "hold fewer sites out, by --set films.held_out_sites=[...]."
            )
        without = f"without {', '.join(group)}: "
        config = recipe.training("training", backbone=backbone, seed=seed)
        tuning = recipe.training("finetuning", backbone=backbone, seed=seed)
        real = Training(f"{without}real", train, validation, config, tests=tests)
        trainings.append(real)
        for name, arm in cohort.arms.items():
            synthetic = arm.examples.where([patient not in patients for patient in arm.examples.patient_ids])
            if not len(synthetic):
                raise InputError(
                    f"every {name} film is made from a patient of {', '.join(group)}; give others too."
                )
            first = replace(real, name=f"{without}{name} alone", films=synthetic, tests={})
            mixed = replace(real, name=f"{without}real + {name}", films=train + synthetic, against=real.name)
            after = replace(
                real, name=f"{without}{name}, then real", config=tuning, start=first.name, against=real.name
            )
            trainings += [mixed, first, after]
    return trainings


#: Protocol -> the trainings of a backbone and a seed.
PROTOCOLS: Mapping[str, Callable[[Recipe, Cohort, str, int], list[Training]]] = {
    "cars-paper": cars_paper,
    "mix": mix,
    "pretrain": pretrain,
    "unseen-sites": unseen_sites,
}


def _after_pretraining(recipe: Recipe, cohort: Cohort, backbone: str, seed: int, shares: Mapping[str, Examples]) -> list[Training]:  # fmt: skip
    """Each share of the real films from every start."""
    tests, validation = cohort.tests, cohort.validation
    imagenet = bool(recipe.values("pretraining").get("pretrained")) and has_weights(backbone)
    config = recipe.training("pretraining", backbone=backbone, seed=seed)
    sets = {}
    for name, arm in cohort.arms.items():
        for k in recipe.values("films").get("multiples") or (None,):
            said = name if k is None else f"{k:g} x {name}"
            sets[said] = arm.examples if k is None else _times(arm.examples, k, cohort, name, seed)
    starts = {
        said: Training(f"{said} alone", films, validation, replace(config, pretrained=imagenet))
        for said, films in sets.items()
    }
    trainings = list(starts.values())
    tuning = recipe.training("finetuning", backbone=backbone, seed=seed)
    for share, films in shares.items():
        scratch = Training(f"{share} from scratch", films, validation, tuning, tests=tests)
        trainings.append(scratch)
        against = scratch.name
        if imagenet:
            against = f"{share} from ImageNet"
            trainings.append(replace(scratch, name=against, config=replace(tuning, pretrained=True), against=scratch.name))  # fmt: skip
        trainings += [
            replace(scratch, name=f"{share} after {name}", start=start.name, against=against)
            for name, start in starts.items()
        ]
    return trainings


def _times(films: Examples, k: float, cohort: FilmSets, name: str, seed: int) -> Examples:
    """k films for each real training film.

    Raises:
        InputError: there are fewer.
    """
    wanted = round(k * len(cohort.train))
    if len(films) < wanted:
        raise InputError(
            f"k = {k:g} needs {wanted} {name} films for {len(cohort.train)} real ones; {len(films)} may be trained on. "
            f"Make more, or ask for less, e.g. --set films.multiples=[0,{len(films) / len(cohort.train):.2g}]."
        )
    return some(films, wanted, seed)
