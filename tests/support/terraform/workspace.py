"""A copy of `terraform/` in which Terraform runs, so that the checkout stays clean and mistakes can be planted."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3] / "terraform"
STAND_INS = Path(__file__).parent / "stand_ins"


@dataclass
class Workspace:
    """Runs Terraform's commands in a copied tree, with providers that only have schemas."""

    folder: Path
    environment: dict[str, str]

    @classmethod
    def copy(cls, folder: Path, environment: dict[str, str]) -> "Workspace":
        """A copy of the whole tree, whose modules refer to each other."""
        shutil.copytree(ROOT, folder / "terraform", ignore=shutil.ignore_patterns(".terraform*"))
        return cls(folder / "terraform", environment)

    def use_stand_ins(self) -> None:
        """Replace the modules that `terraform test` cannot run with stand-ins."""
        shutil.copytree(STAND_INS, self.folder / "modules", dirs_exist_ok=True, copy_function=shutil.copy)
        for replacement in STAND_INS.iterdir():
            for extra in (self.folder / "modules" / replacement.name).glob("*.tf"):
                if not (replacement / extra.name).exists():
                    extra.unlink()

    def replace(self, file: str, old: str, new: str) -> None:
        """Plant a mistake; raises ValueError unless the text to replace occurs exactly once."""
        path = self.folder / file
        text = path.read_text()
        if text.count(old) != 1:
            raise ValueError(f"{old!r} stands {text.count(old)} times in {file}")
        path.write_text(text.replace(old, new))

    def run(self, module: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run `terraform COMMAND` in a module's folder."""
        # The user's settings (mirrors, credentials, TF_VAR_...) must not affect the result.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("TF_", "AWS_"))}
        fixed = {"TF_CLI_CONFIG_FILE": os.devnull, "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}
        return subprocess.run(
            ["terraform", f"-chdir={self.folder / module}", *command],
            env=inherited | fixed | self.environment,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def init(self, module: str) -> None:
        """Link the modules; raises RuntimeError with Terraform's output if that fails."""
        result = self.run(module, "init", "-backend=false", "-input=false", "-no-color")
        if result.returncode:
            raise RuntimeError(result.stdout + result.stderr)

    def complaints(self, module: str) -> list[str]:
        """The errors and warnings of `terraform validate`."""
        self.init(module)
        answer = json.loads(self.run(module, "validate", "-json").stdout)
        return [f"{each['summary']}: {each.get('detail', '')}" for each in answer["diagnostics"]]

    def apply(self, module: str, variables: str | None = None) -> dict[str, Any]:
        """Apply a module with mocked providers, and a file of variables; the state.

        Without a file, the variables and the first run of its tests count. Raises RuntimeError with Terraform's words
        if that fails.
        """
        self.init(module)
        (tests,) = (self.folder / module / "tests").glob("*.hcl")
        options = []
        if variables:
            applied = self.folder / module / "applied"
            applied.mkdir(exist_ok=True)
            mocks = tests.read_text().partition("\nvariables {")[0]
            (applied / "apply.tftest.hcl").write_text(f'{mocks}\nrun "apply" {{}}\n')
            options = ["-test-directory=applied", f"-var-file={variables}"]
        result = self.run(module, "test", "-json", "-verbose", *options)
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        states: list[dict[str, Any]] = [line["test_state"] for line in lines if "test_state" in line]
        if result.returncode or not states:
            said = [line["diagnostic"] for line in lines if line.get("@level") == "error" and "diagnostic" in line]
            raise RuntimeError(f"{said}\n{result.stderr}")
        return states[0]

    def test(self, module: str) -> subprocess.CompletedProcess[str]:
        """Run the module's `tests/*.tftest.hcl`."""
        self.init(module)
        return self.run(module, "test", "-no-color")
