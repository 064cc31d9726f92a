"""Edits as the page asks for them: checked, made, told of while they run, and kept."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import torch
from torch import Tensor

from counterflow import images
from counterflow.app import markup, sources
from counterflow.app.mask_panel import Chosen
from counterflow.app.session import Kept, Session
from counterflow.app.studio import Studio
from counterflow.app.task import Task
from counterflow.edit import pictures
from counterflow.edit.checks import check_mask
from counterflow.edit.editor import Editor
from counterflow.edit.inversion import Inversion
from counterflow.edit.job import Job
from counterflow.edit.plan import Plan
from counterflow.edit.result import Edit
from counterflow.errors import InputError
from counterflow.flow import Step
from counterflow.methods.base import Method
from counterflow.methods.registry import changed
from counterflow.trust.expecting import Expecting

FREQUENT = 0.3
"""Fewest seconds between two previews; and they take no more than a fifth of the time."""
MOST_FRAMES = 32
"""Of the way to a result, kept for its animation."""


@dataclass(frozen=True)
class Asked:
    """What a visitor asks for, as it came from the page."""

    picture: str | None
    source: str
    targets: str
    method: str
    texts: Mapping[str, str] = field(default_factory=dict)
    """Settings as text, as `--set` takes them."""
    seed: int = 0
    mask: Chosen = field(default_factory=Chosen)


def check(studio: Studio, session: Session, asked: Asked) -> tuple[Job, Plan]:
    """Check a request whole; InputError, in a sentence, for what cannot be done.

    The method is checked here, all else by `opened`.
    """
    job, plan = opened(studio, session, asked)
    check_mask(job.method, job.inside is not None or job.auto_mask)
    plan.check_prompts(job.method, job.source or "")
    job.method.check_model(studio.editor.backbone)
    return job, plan


def opened(studio: Studio, session: Session, asked: Asked) -> tuple[Job, Plan]:
    """Read and check the picture, the sentences and the mask of a request.

    The picture comes to lie in a folder of its own, beside which its results will be: nothing of
    ours is ever called as a visitor may have called it.
    """
    targets = sources.targets(asked.targets)
    said = sources.sentence(asked.source, "source sentence")
    source = studio.received(session, asked.picture)
    file = session.copy(source.file)
    options = asked.mask.options(file, session.mask)
    job = Job(file, said, studio.seeded(asked.seed), asked.method, texts=asked.texts, **options)
    plan = Plan(targets)
    plan.check(job)
    try:
        job.open()
    except InputError as error:
        raise InputError(str(error).replace(f"{file.parent}/", "")) from None
    session.remember(source.digest, file)
    return job, plan


def phases(method: Method, targets: int = 1, masking: bool = False) -> list[tuple[str, int]]:
    """The parts of an edit, with a guess of their steps."""
    first = [("inverting", method.steps)] if method.inversion else []
    each = [*[("masking", 6)] * masking, ("editing", method.steps)]
    return [*first, *each * targets]


def begin(studio: Studio, session: Session, asked: Asked, done: Callable[[Kept], None]) -> Task:
    """A task that makes the edits; `done` is told of each as soon as it is kept."""
    job, plan = check(studio, session, asked)

    def work(task: Task) -> None:
        with studio.lock:
            task.check()
            try:
                for kept in edited(studio, session, job, plan, task):
                    session.keep(kept)
                    done(kept)
                    task.tell()
            except BaseException:
                studio.forget()
                raise
            finally:
                studio.editor.preview = None
                if session.closed:
                    session.close()  # what was written since

    return Task(work, phases(job.method, len(plan.targets), job.auto_mask))


def edited(studio: Studio, session: Session, job: Job, plan: Plan, task: Task) -> Iterator[Kept]:
    """Make a job's edits, one after another; the model's lock must be held."""
    editor = studio.editor
    inversion, fresh = studio.inversion(job, task.progress)
    expecting = Expecting(editor, plan.targets, False, titled(job.method))
    trust = [expecting(inversion, n) for n in range(len(plan.targets))]
    task.check()
    editor.preview = watch = Watch(editor, task, job)
    for n, (edit, _, origin) in enumerate(plan.run(job, editor, inversion, task.progress)):
        whole = edit.costing(origin) if fresh and n == 0 else edit
        yield keeping(session, job, plan, n, whole, trust[n], exactness(origin), watch.path())


def keeping(
    session: Session,
    job: Job,
    plan: Plan,
    n: int,
    edit: Edit,
    trust: Mapping[str, Any] | None = None,
    inverted: str = "",
    path: Tensor | None = None,
) -> Kept:
    """Write result `n` of a job, with its settings inside.

    They name source and mask as these are called where they are downloaded: beside the result.
    """
    name = f"{sources.slug(edit.target)}-{job.method.name}-{next(session.numbers)}"
    file = beside(job.image, f"{name}.png")
    said = {} if trust is None else {"trust": trust}
    record = job.record("edit", file, **plan.record(n), **said) | {"image": job.image.name}
    inside, mask = within(job, edit), None
    if inside is not None:
        mask = beside(job.image, f"{name}-mask.png")
        pictures.alpha(inside).save(mask)
    if mask is not None and job.mask is not None:
        shutil.copyfile(job.mask, mask)  # byte for byte, as the record tells its digest
        record["mask"] = mask.name
    images.save_png(edit.image, file, record)
    cut = "".join(f"Not seen by {name}: {rest[:200]!r}. " for name, rest in edit.cut.items())
    facts = {
        "sentence": (trust or {}).get("sentence", ""),
        "size": (trust or {}).get("size", ""),
        "cut": cut.strip(),
        "inverted": inverted,
        "method": titled(job.method),
        "forwards": edit.forwards,
        "seconds": edit.seconds,
        "seed": job.model.seed,
        "mask": "" if inside is None else f"{inside.mean():.0%} of the picture",
    }
    return Kept(file, job.image, job.source or "", edit.target, facts, mask, path)


def within(job: Job, edit: Edit) -> np.ndarray | None:
    """An edit's mask, bool: the one that was given or found, or that its method found."""
    if job.plain is None and edit.found is not None:
        return pictures.stretched(edit.found[0, 0] >= 0.5, edit.image.size)
    return job.plain


def beside(source: Path, name: str) -> Path:
    """A file of ours that belongs to a picture, beside the picture's own folder."""
    return source.parent.with_name(name)


def exactness(inversion: Inversion) -> str:
    """How an inversion went, in words."""
    steps = inversion.method.steps if inversion.trajectory is not None else 0
    return markup.inverted(steps, inversion.forwards, inversion.residual, inversion.latent_error)


def before(source: Path) -> Path:
    """The source of a run as browsers can show it: upright, sRGB, in a PNG."""
    file = beside(source, "before.png")
    if not file.is_file():
        images.load(source).save(file)
    return file


class Watch:
    """The preview of the running edit: decoded now and then, and all of it kept for later."""

    def __init__(self, editor: Editor, task: Task, job: Job) -> None:
        self._editor, self._task, self._job = editor, task, job
        self._frames: list[Tensor] = []
        self._numbers = itertools.count(1)  # a browser shows no name's second picture
        self._next = 0.0

    def __call__(self, x: Tensor, step: Step) -> None:
        """A `counterflow.flow.Preview`."""
        self._task.check()
        self._frames.append(x[:1].half().cpu())
        began = time.perf_counter()
        if began < self._next or step.index + 1 == step.count:
            return
        assert self._job.picture is not None, "the job is open"
        file = beside(self._job.image, f"preview-{next(self._numbers)}.png")
        self._editor.picture(x[:1], self._job.picture.size).save(file)
        self._task.preview = before(self._job.image), file
        self._task.tell()
        now = time.perf_counter()
        self._next = now + max(FREQUENT, 4 * (now - began))

    def path(self) -> Tensor | None:
        """The latents of the edit that just ended, at most `MOST_FRAMES` of them."""
        frames, self._frames = self._frames, []
        self._next = 0.0
        if not frames:
            return None
        most = min(len(frames), MOST_FRAMES)
        return torch.cat([frames[-1 - n * len(frames) // most] for n in reversed(range(most))])


def titled(method: Method) -> str:
    """A method's name, and the settings that are not its own."""
    return ", ".join([method.name, *(f"{k}={v}" for k, v in changed(method.name, method).items())])


def gallery(session: Session) -> Any:
    """The update of a strip that shows a session's history."""
    shown = [
        (str(each.file), f"{markup.brief(each.source, each.target)} · {each.facts['method']}")
        for each in session.history
    ]
    return gr.update(value=shown, visible=True, selected_index=None)
