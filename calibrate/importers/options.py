"""What the user asks an import for."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sim import models
from sim.models.model import Model


@dataclass(frozen=True)
class ImportOptions:
    """One import: from which folder, and which part of it.

    gpu: the source's label, where the folder holds several GPUs. engine: whose kernels, where there are several:
    an engine or "engine:version" (AIConfigurator), an attention backend (Vidur). models: built-in names or paths
    of a config.json; none: all that can be recognised. network: the folder with Vidur's collectives.
    """

    folder: Path
    gpu: str | None = None
    engine: str | None = None
    models: Sequence[str] = ()
    network: str | None = None

    def given_models(self) -> list[Model]:
        """The models that the user named. Raises ModelError for one that cannot be found."""
        return [models.load(name) for name in self.models]


def find_model(label: str, given: Sequence[Model]) -> Model | None:
    """The model that a source calls `label` ("meta-llama/Llama-3.1-8B"): a given or a built-in one, if any.

    Names are compared without case, punctuation and the suffixes -hf, -instruct, -base.
    """
    wanted = _plain(label)
    for model in given:
        if _plain(model.name) == wanted:
            return model
    if given:
        return None
    for name in models.builtin_names():
        if _plain(name) == wanted:
            return models.load(name)
    return None


def _plain(label: str) -> str:
    name = label.rsplit("/", 1)[-1].lower()
    name = re.sub(r"-(instruct|hf|base|chat)(?=-|$)", "", name)
    name = re.sub(r"-(v0\.\d+|2507)$", "", name)
    return re.sub(r"^meta-?(?=llama)|[^a-z0-9]", "", name)
