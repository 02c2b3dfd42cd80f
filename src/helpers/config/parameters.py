"""The parameters of a notebook: each can be set alone, all are checked, and the rest comes from a profile.

A parameter whose default is ``...`` is *derived*: a setting takes the profile's value, and a folder follows from the
names of the run. So `papermill notebooks/03_qlora_finetuning.ipynb out.ipynb -p lora_rank 4` changes the rank and
nothing else, and so does the same edit in the notebook's first cell. Names that the notebook does not declare are
refused: papermill alone only warns, and then runs for an hour with the default.
"""

import ast
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, get_origin

import pandas as pd

from helpers.config import Settings, SettingsError, from_text, set_fields, validated
from helpers.config.grids import key
from helpers.config.profiles import Profile, load_profile
from helpers.paths import MAIN, ROOT, STEPS, Layout, is_hub_id, resolve, resolve_output

AnySettings = TypeVar("AnySettings", bound=Settings)


class Parameters:
    """A notebook's parameters, created in the cell that follows them: ``given = Parameters(globals())``.

    Every declared parameter is an attribute. One that is still ``...`` is only available through `or_else`, `settings`
    or a method that finds folders. Where a list is declared, a single value counts as a list of one, and ``a,b`` or
    JSON as a list; the notebook's own variables are set accordingly. Raises `SettingsError` for a name that the
    notebook does not declare, and for a value that is not the list or mapping that it should be.
    """

    def __init__(self, space: dict[str, Any]) -> None:
        self._declared = list(space.get("__annotations__", {}))
        kinds = space.get("__annotations__", {})
        self._values = {name: _as_declared(name, space[name], kinds[name]) for name in self._declared if name in space}
        space.update(self._values)
        self._shown: list[dict[str, Any]] = []
        self._differing: dict[str, Any] = {}
        self._profile: Profile | None = None
        self._refuse_unknown(space.get("In", []))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._values:
            raise AttributeError(f"the notebook declares no parameter {name!r}; it declares {', '.join(self._values)}")
        if self._values[name] is ...:
            raise SettingsError(f"parameter {name} has no value yet: it is derived in this notebook")
        return self._values[name]

    def or_else(self, name: str, derived: Any) -> Any:
        """The parameter's value, or the derived one."""
        return derived if self._values[name] is ... else self._values[name]

    # ---- settings --------------------------------------------------------------------------------------------------

    @property
    def profile(self) -> Profile:
        """The profile named by the parameter ``profile``; read when it is first needed."""
        if self._profile is None:
            self._profile = load_profile(self._values["profile"])
        return self._profile

    def settings(self, kind: type[AnySettings]) -> AnySettings:
        """A group of settings: the parameters that are set override the profile's values.

        If all declared parameters are set, as by the workflow, no profile is read. Raises `SettingsError` for an
        invalid value.
        """
        group = kind.__name__.lower()
        fields = {name: self._values[name] for name in kind.model_fields if name in self._values}
        given = {name: value for name, value in fields.items() if value is not ...}
        base = None if len(given) == len(fields) else getattr(self.profile, group)
        where = "the notebook's parameters, in its first cell or by -p NAME VALUE"
        values = base.model_dump(exclude_unset=True) if base else {}
        set_fields(kind, values, given, where)
        found = validated(kind, values, f"the {group} settings", where)
        for name, value in found:
            changed = base is None or value != getattr(base, name)
            if base is not None and changed:
                self._differing[f"{group}.{name}"] = value
            source = "given" if name in given and changed else f"profile {self._values.get('profile')}"
            meaning = kind.model_fields[name].description or ""
            self._shown.append({"setting": name, "value": value, "from": source, "meaning": meaning})
        return found

    def table(self) -> pd.DataFrame:
        """The settings that were requested, one row per setting: its value, its source and its meaning."""
        return pd.DataFrame(self._shown).set_index("setting")

    def shown(self) -> Any:
        """`table` for a notebook: whole sentences, on the left."""
        left = {"text-align": "left"}
        return (
            self.table()
            .style.set_properties(**left)
            .set_table_styles([{"selector": "th", "props": [("text-align", "left")]}])
        )

    def variant(self, *earlier: str) -> str:
        """The name of this run's settings: as given, or what differs from the profile; ``main`` if nothing does.

        ``earlier``: the variants of the files that the run builds on, whose differences it inherits.
        """
        if self._values["variant"] is not ...:
            return str(self._values["variant"])
        parts = [name for name in (*earlier, key(self._differing)) if name != MAIN]
        return "+".join(dict.fromkeys(parts)) or MAIN

    # ---- folders ---------------------------------------------------------------------------------------------------

    @property
    def layout(self) -> Layout:
        """Where this run writes its files."""
        return Layout(resolve_output(self._values["run_dir"]))

    def base(self) -> Path | str:
        """The base model, as a folder or a hub id: the profile's, unless ``model_path`` names one."""
        named = self._values["model_path"]
        if named is ...:
            if self.model not in self.profile.models:
                raise SettingsError(
                    f"model = {self.model!r}: profile {self.profile.name} has {', '.join(self.profile.models)}; "
                    "name one of these, or set model_path"
                )
            named = self.profile.models[self.model].path
        return str(named) if is_hub_id(named) else resolve(named)

    def output(self, step: str, **names: object) -> Path:
        """Where this notebook writes: ``output_dir``, or the step's folder in the run's."""
        named = self._values["output_dir"]
        return self.layout.folder(step, **names) if named is ... else resolve_output(named)

    def latest(self, parameter: str, step: str, file: str, **names: object) -> Path:
        """The folder that an earlier notebook wrote: as the parameter says, or the latest of the step's folders.

        Looks in the run's folder, then in the profile's (`runs/demo`), which is never written to. ``names`` that are
        left out match anything. Raises ``FileNotFoundError``, which names the notebook to run.
        """
        named = self._values[parameter]
        if named is not ...:
            return resolve(named)
        given = self._values["run_dir"]
        runs = [self.layout.run, resolve(given), ROOT / "runs" / str(self._values.get("profile", ""))]
        any_name = {name: names.get(name, "*") for name in STEPS[step].fields}
        for run in dict.fromkeys(runs):
            pattern = Layout(run).file(step, file, **any_name).relative_to(run)
            if found := sorted(run.glob(str(pattern)), key=lambda path: path.stat().st_mtime):
                return found[-1].parents[len(Path(file).parts) - 1]
        said = ", ".join(f"{name} {value}" for name, value in names.items())
        notebook = STEPS[step].notebook
        raise FileNotFoundError(
            f"nothing from notebook {notebook} ({said}) in {given}; run {notebook} first with the same run_dir, or "
            f"set {parameter} to its folder"
        )

    def files(self, parameter: str, folder: Path, name: str) -> list[Path]:
        """The files that the parameter lists or, if it is ``...``, every file of this name below the folder.

        An empty list means no file, as from a run that has none; it never means every file.
        """
        named = self._values[parameter]
        return sorted(folder.rglob(name)) if named is ... else [resolve(file) for file in named]

    # ---- checks ----------------------------------------------------------------------------------------------------

    def _refuse_unknown(self, history: Sequence[str]) -> None:
        """Refuse names that were assigned among the parameters, by papermill or by hand, but never declared."""
        unknown = [name for cell in history for name in _assigned(cell, self._declared) if name not in self._declared]
        if not unknown:
            return
        near = difflib.get_close_matches(unknown[0], self._declared, n=1, cutoff=0.6)
        said = f"; did you mean {near[0]}?" if near else "."
        raise SettingsError(
            f"this notebook has no parameter {', '.join(unknown)}{said} It has {', '.join(self._declared)}. Set each "
            "by its own name, as in: papermill ... -p lora_rank 4"
        )


def _as_declared(name: str, value: Any, kind: Any) -> Any:
    """The value of a parameter that is declared as a list or a mapping, of which a command line gives the text."""
    expected = get_origin(kind) or kind
    if value is ... or expected not in (list, dict) or isinstance(value, expected):
        return value
    try:
        found = list(value) if expected is list and isinstance(value, tuple) else from_text(value, kind)
        if isinstance(found, expected):
            return found
        rule = "a list, such as a,b" if expected is list else 'a mapping, such as {"a": 1}'
    except ValueError as error:
        rule = f"what it looks like: it {error}"
    raise SettingsError(f"parameter {name} is {value!r}; it must be {rule}. Correct it in the first cell or after -p")


def _assigned(cell: str, declared: Sequence[str]) -> list[str]:
    """The names that a cell assigns, if it is a parameter cell: papermill's own, or one that declares parameters."""
    try:
        body = ast.parse(cell).body
    except (SyntaxError, ValueError):  # IPython magics
        return []
    annotated = {s.target.id for s in body if isinstance(s, ast.AnnAssign) and isinstance(s.target, ast.Name)}
    if not cell.startswith("# Parameters\n") and not annotated & set(declared):
        return []
    return [t.id for s in body if isinstance(s, ast.Assign) for t in s.targets if isinstance(t, ast.Name)]
