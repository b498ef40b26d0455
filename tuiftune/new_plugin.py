"""Write a new drop-in plugin from a template: a whole stage of each kind, short enough to be read at once."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

from tuiftune.catalog import Catalog
from tuiftune.errors import PluginError
from tuiftune.paths import display, plugin_folder

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
"""Of a stage and of the file it is in: a file whose name begins with _ is no plugin."""

DATASET = '''\
"""{title}: documents from a file. In a profile: [dataset] stage = "{name}", path = "data/my.txt"."""

import tuiftune


class {cls}(tuiftune.DatasetLoader):
    """One document a line of a file."""  # the first line is what lists of stages show

    name = "{name}"

    class Options(tuiftune.Options):
        path: str = tuiftune.Field(description="the file to read")  # no default: a profile must give it

    def run(self, ctx):
        with ctx.open(self.options.path) as file:  # a relative path is looked up from the workspace
            for line in filter(None, map(str.strip, file)):
                yield line  # or {{"segments": [{{"text": ..., "loss": False}}, {{"text": ..., "loss": True}}]}}


@tuiftune.hookimpl
def register_stages():
    return [{cls}]
'''

PREPROCESS = '''\
"""{title}: leaves documents out. In a profile, before tokenize: [[preprocess]] stage = "{name}"."""

import tuiftune


class {cls}(tuiftune.Preprocessor):
    """Drops documents with fewer characters than asked for."""  # the first line is what lists of stages show

    name = "{name}"

    class Options(tuiftune.Options):
        min_chars: int = tuiftune.Field(20, ge=0, description="shorter documents are dropped")

    def run(self, ctx):
        least = self.options.min_chars
        kept = ctx.input.filter(lambda row: len(row["text"]) >= least)  # a DatasetDict: train and validation
        ctx.log(f"{{len(kept['train']):,}} of {{len(ctx.input['train']):,}} documents kept")
        return kept


@tuiftune.hookimpl
def register_stages():
    return [{cls}]
'''

TRAIN = '''\
"""{title}: a trainer in its plainest form. In a profile: [train] stage = "{name}"."""

import tuiftune


class {cls}(tuiftune.Trainer):
    """AdamW, a row of tokens a step."""  # the first line is what lists of stages show

    name = "{name}"

    class Options(tuiftune.Options):
        steps: int = tuiftune.Field(100, ge=1, description="optimizer steps")
        learning_rate: float = tuiftune.Field(5e-5, gt=0, description="the same in every step")

    def run(self, ctx):
        import torch  # in here: whoever lists plugins would wait 2 s for it

        from tuiftune.training.model import load_model, load_tokenizer, save_folder

        tokenizer = load_tokenizer(ctx.model, ctx.workspace)
        model = load_model(ctx.model, ctx.workspace, torch.float32, tokenizer).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=self.options.learning_rate)
        rows = ctx.input["train"]
        for step in range(1, self.options.steps + 1):
            if ctx.stopping:  # somebody asked; with ctx.save_checkpoint a resume would go on from here
                raise tuiftune.RunStopped(step - 1)
            ids = torch.tensor([rows[(step - 1) % len(rows)]["input_ids"]])
            loss = model(ids, labels=ids).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            ctx.metric(step, loss=loss.item())  # the series train/loss, drawn as it comes
            ctx.progress(step, self.options.steps, "steps")
        save_folder(model, tokenizer, ctx.run_dir / "model")
        return ctx.run_dir / "model"


@tuiftune.hookimpl
def register_stages():
    return [{cls}]
'''

EVALUATE = '''\
"""{title}: a figure of a model. In a profile: [[evaluate]] stage = "{name}"."""

import tuiftune


class {cls}(tuiftune.Evaluator):
    """How often the model's first guess is the next token."""  # the first line is what lists of stages show

    name = "{name}"

    class Options(tuiftune.Options):
        rows: int = tuiftune.Field(100, ge=1, description="held-out rows to look at, the first ones")

    def evaluate(self, ctx, model, tokenizer, step):  # before step 1, during training and at its end
        import torch  # in here: whoever lists plugins would wait 2 s for it

        held_out, right, total = ctx.input["validation"], 0, 0
        with torch.no_grad():
            for row in held_out.select(range(min(self.options.rows, len(held_out)))):
                ids = torch.tensor([row["input_ids"]], device=model.device)
                right += int((model(ids).logits[:, :-1].argmax(-1) == ids[:, 1:]).sum())
                total += ids.shape[1] - 1
        return {{"{name}": right / max(1, total)}}  # the series eval/{name}


@tuiftune.hookimpl
def register_stages():
    return [{cls}]
'''

TEMPLATES = {"dataset": DATASET, "preprocess": PREPROCESS, "train": TRAIN, "evaluate": EVALUATE}
"""By kind, in the order of the pipeline."""


def make(workspace: Path, name: str, kind: str, catalog: Catalog) -> Path:
    """Write `plugins/NAME.py` with a stage NAME of a kind and return it; what is there already stays as it is.

    Raises PluginError where the name cannot be used or nothing can be written.
    """
    _check_name(name, kind, catalog)
    path = plugin_folder(workspace) / f"{name}.py"
    title = name.replace("_", " ").strip().capitalize()
    cls = "".join(part[:1].upper() + part[1:] for part in name.split("_"))
    text = TEMPLATES[kind].format(name=name, title=title, cls=cls)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise PluginError(f"{display(path, workspace)}: is there already. Give the plugin another name") from error
    except OSError as error:
        raise PluginError(f"{display(path, workspace)}: cannot be written: {error.strerror}") from error
    return path


def _check_name(name: str, kind: str, catalog: Catalog) -> None:
    """Raises PluginError where a stage of that name could not be loaded."""
    if kind not in TEMPLATES:
        raise PluginError(f"{kind!r} is no kind of stage. There are: {', '.join(TEMPLATES)}")
    if not NAME.fullmatch(name) or keyword.iskeyword(name):
        raise PluginError(f"{name!r} is no name for a plugin. Use letters, digits and _, a letter first")
    for stage in catalog.stages:
        if (stage.kind, stage.name) == (kind, name):
            raise PluginError(f"{name!r} is a {kind} stage of plugin {stage.plugin!r} already. Give another name")
    if any(plugin.name == name for plugin in catalog.plugins):
        raise PluginError(f"{name!r} is a plugin already. Give this one another name")
